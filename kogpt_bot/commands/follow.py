"""What several daemons of one database share: settings and opt-outs that another one changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import structlog

from kogpt_bot.commands.settings import reload
from kogpt_bot.errors import StoreError

if TYPE_CHECKING:
    from kogpt_bot.commands.desk import Parts

log = structlog.get_logger(__name__)

LOOK_S = 5.0  # so long may a change by another daemon take to be felt here

Marks: TypeAlias = tuple[object, ...]


async def follow(parts: Parts) -> None:
    """Take over what others change, until cancelled."""
    seen: Marks = ()
    while True:
        try:
            seen = await catch_up(parts, seen)
        except StoreError as error:
            log.warning("following_failed", why=str(error))
        await parts.clock.sleep(LOOK_S)


async def catch_up(parts: Parts, seen: Marks) -> Marks:
    """Take over what changed since the marks in `seen`; returns those of now."""
    now = (await parts.store.settings.mark(), await parts.store.people.mark())
    if now != seen:
        await parts.people.load()
        await reload(parts)
    return now
