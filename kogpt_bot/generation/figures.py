"""What the engine counts, as plain values: histograms, rates, and the picture of a moment."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

WAITS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
GAPS_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
RATE_WINDOW_S = 10.0


class Histogram:
    """Counts of values up to each bound, as Prometheus has them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> Distribution:
        """Return the counts as they are now."""
        names = [*map(str, self._bounds), "+Inf"]
        counts = itertools.accumulate(self._counts)
        return Distribution(tuple(zip(names, counts, strict=True)), self._sum)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Upper bound -> how many values are up to it; and the sum of all values."""

    buckets: tuple[tuple[str, int], ...] = (("+Inf", 0),)
    total: float = 0.0


class Rate:
    """How much of something there was a second, lately: one thread adds, others may ask.

    To ask changes nothing, and an addition is one write: neither needs to wait for the other.
    """

    def __init__(self) -> None:
        # By tenths of a second, in turn: which one it is, and how much there was in it.
        self._tenths = [(-1, 0)] * round(RATE_WINDOW_S * 10)

    def add(self, now: float, amount: int) -> None:
        """Count an amount."""
        tenth = int(now * 10)
        place = tenth % len(self._tenths)
        known, before = self._tenths[place]
        self._tenths[place] = tenth, amount + (before if known == tenth else 0)

    def per_second(self, now: float) -> float:
        """Return the rate over the last RATE_WINDOW_S."""
        begin = int(now * 10) - len(self._tenths)
        return sum(amount for tenth, amount in self._tenths if tenth > begin) / RATE_WINDOW_S


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine does now and did since it was started."""

    alive: bool = True  # its thread goes on
    running: int = 0
    waiting: int = 0
    cache_tokens: int = 0
    cache_capacity: int = 0
    steps: int = 0
    step_seconds: float = 0.0
    prefilled: int = 0  # prompt tokens computed
    reused: int = 0  # prompt tokens taken from the cache
    generated: int = 0
    prefill_rate: float = 0.0  # tokens a second, lately
    decode_rate: float = 0.0
    blocks: int = 0
    blocks_used: int = 0  # by running requests
    blocks_idle: int = 0  # kept for those to come
    blocks_shared: int = 0  # used by several at once
    host_blocks: int = 0
    host_blocks_used: int = 0
    evictions: int = 0
    moved_out: int = 0
    moved_in: int = 0
    score_bytes: int = 0  # of log-probabilities beside the blocks
    failed: int = 0  # requests whose computation failed
    expired: int = 0
    memory: int = 0  # bytes of this process
    device_memory: int = 0  # bytes on the GPUs
    batch_size: Distribution = field(default_factory=Distribution)
    queue_wait: Distribution = field(default_factory=Distribution)
    first_token: Distribution = field(default_factory=Distribution)
    token_gap: Distribution = field(default_factory=Distribution)
    last_step: float = 0.0  # monotonic time at which the last step, or layer of one, ended
