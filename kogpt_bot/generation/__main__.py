"""The child process of the daemon: `python -m kogpt_bot.generation SOCKET PARENT OPTIONS`."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

from kogpt_bot.errors import KogptBotError
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.serve import serve, unix_listener
from kogpt_bot.ops import logging as logs

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Let Linux end this process with its parent, also when nothing here runs any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(arguments: list[str]) -> int:
    """Serve on a Unix socket; the last line on standard error says why it ended, if it failed."""
    path, parent, options = arguments
    die_with_parent()
    logs.configure(os.environ.get("KOGPT_BOT_LOG_LEVEL", "INFO"), "json")
    try:
        asyncio.run(
            serve(ServiceOptions.from_json(options), unix_listener(path), parent=int(parent))
        )
    except KogptBotError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201  # read by the parent
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
