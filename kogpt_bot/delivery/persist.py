"""Writing what happened until it is written: a full or locked database must not lose it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.errors import RowRefused, StoreError, TurnGone

log = structlog.get_logger(__name__)

PAUSE_FIRST_S = 0.25
PAUSE_CAP_S = 4.0  # what waits for the database goes on within 5 s of its return

T = TypeVar("T")


async def insist(clock: Clock, write: Callable[[], Awaitable[T]]) -> T:
    """Return what `write` returns, tried again while the database fails.

    Raises TurnGone and RowRefused: trying again would not help. Cancelling it ends it; the turn
    is open in the store then, and taken up at the next start.
    """
    pause = PAUSE_FIRST_S
    while True:
        try:
            return await write()
        except (RowRefused, TurnGone):
            raise
        except StoreError as error:
            log.warning("store_failed", why=str(error), again_in_s=pause)
        await clock.sleep(pause)
        pause = min(pause * 2, PAUSE_CAP_S)
