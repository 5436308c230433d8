"""Taking up the turns that a stop or a crash left open."""

from __future__ import annotations

from collections.abc import Collection

from kogpt_bot.clock import Clock
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.store import Store


async def resume(store: Store, lanes: Lanes, adapters: Collection[str], clock: Clock) -> int:
    """Put the open turns of these adapters into their lanes, oldest first; return how many.

    Those that are in a lane already stay where they are. How each goes on, or ends, is decided
    when its lane comes to it (`answer.py`).
    """
    found = await store.unfinished(adapters)
    open_turns = [turn for turn in found if not lanes.holds(turn)]
    for turn in open_turns:
        # Wall time is all that there is across a restart; set back, it makes nothing older.
        age_s = (clock.now() - turn.created_at).total_seconds()
        lanes.put(turn, age_s=max(0.0, age_s))
    return len(open_turns)
