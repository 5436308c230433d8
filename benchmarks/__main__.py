"""Run the benchmarks that need no peer."""

import sys

from benchmarks import loading_memory

sys.exit(loading_memory.main([]))
