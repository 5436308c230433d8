"""Fairness: how often a person is answered, and how often a notice is repeated."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from kogpt_bot.clock import Clock

MINUTE_S = 60.0
REMEMBERED = 10_000  # channels or people; the one that was quiet the longest is forgotten first

K = TypeVar("K", bound=Hashable)


class OncePerMinute(Generic[K]):
    """Says of each key once a minute that its notice is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: OrderedDict[K, float] = OrderedDict()

    def due(self, key: K) -> bool:
        """Whether the notice may be shown now; it counts as shown then."""
        now = self._clock.monotonic()
        if now - self._last.get(key, -MINUTE_S) < MINUTE_S:
            return False
        self._last[key] = now
        self._last.move_to_end(key)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return True


class RateLimit(Generic[K]):
    """Lets each key through `per_minute` times in any minute."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self.per_minute = per_minute
        self._times: OrderedDict[K, deque[float]] = OrderedDict()

    def allows(self, key: K) -> bool:
        """Whether the key may go through once more; it counts then."""
        now = self._clock.monotonic()
        times = self._times.setdefault(key, deque())
        self._times.move_to_end(key)
        if len(self._times) > REMEMBERED:
            self._times.popitem(last=False)
        while times and now - times[0] >= MINUTE_S:
            times.popleft()
        if len(times) >= self.per_minute:
            return False
        times.append(now)
        return True
