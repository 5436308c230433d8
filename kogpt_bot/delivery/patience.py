"""How long one call to a platform is insisted on: while it is away, and while it asks to wait."""

from __future__ import annotations

from kogpt_bot.clock import Clock
from kogpt_bot.errors import RetryAfter, Unreachable

BACKOFF_FIRST_S = 1.0
BACKOFF_CAP_S = 5.0  # what waits for a platform goes out within 5 s of its return
OUTAGE_S = 15.0  # sat out by any answer, also by one whose deadline is near
LONGEST_FLOOD_WAIT_S = 60.0  # an answer that comes later than this is no answer any more
SHORTEST_FLOOD_WAIT_S = 0.1  # what a wait counts for, so that even waits of nothing have an end


class Patience:
    """Decides of one send or edit whether it is tried again, and waits until then.

    A platform that is away is waited for until `deadline`. One that asks to wait is there: only
    the waiting, summed up, has its limit.
    """

    def __init__(self, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._until = max(deadline, clock.monotonic() + OUTAGE_S)
        self._pause_s = BACKOFF_FIRST_S
        self._flood_s = 0.0

    async def wait(self, error: RetryAfter | Unreachable) -> bool:
        """Wait before the next attempt; returns False where there is to be none."""
        if isinstance(error, RetryAfter):
            self._flood_s += max(error.seconds, SHORTEST_FLOOD_WAIT_S)
            if self._flood_s > LONGEST_FLOOD_WAIT_S:
                return False
            await self._clock.sleep(error.seconds)
            return True
        left = self._until - self._clock.monotonic()
        if left <= 0:
            return False
        await self._clock.sleep(min(self._pause_s, left))
        self._pause_s = min(self._pause_s * 2, BACKOFF_CAP_S)
        return True
