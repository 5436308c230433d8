"""How often one person may ask for something: a bucket of wishes each, refilled over time."""

from __future__ import annotations

from collections import OrderedDict

from kogpt_bot.clock import Clock

BURST = 10  # a person who clicks through a menu
MAX_PEOPLE = 10_000  # remembered; who has not asked for longest is forgotten first


class RateLimiter:
    """At most `burst` at once and `per_minute` in the long run, for each person."""

    def __init__(self, clock: Clock, *, per_minute: float, burst: int = BURST) -> None:
        self._clock = clock
        self._burst = burst
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, at

    def replace(self, per_minute: float) -> None:
        """Take over another limit."""
        self._per_second = per_minute / 60

    def wait_s(self, person: str) -> float:
        """Take one; returns 0, or in how many seconds there is one again."""
        now = self._clock.monotonic()
        left, at = self._buckets.pop(person, (float(self._burst), now))
        left = min(left + (now - at) * self._per_second, self._burst)
        taken = left >= 1
        self._buckets[person] = (left - taken, now)
        if len(self._buckets) > MAX_PEOPLE:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_second
