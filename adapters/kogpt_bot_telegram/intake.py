"""Updates are taken once each: in order within a chat, chats beside each other."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import structlog
from telegram import Update

from kogpt_bot import KogptBotError
from kogpt_bot_telegram.parsing import Received

log = structlog.get_logger(__name__)

REMEMBERED = 10_000  # updates that were taken: one that comes again is not carried out twice
MAX_TRIES = 5  # of an update that fails for a reason of our own; then it is left out, and said


class Intake:
    """Hands updates to `handle` and remembers which were taken."""

    def __init__(self, handle: Callable[[Update], Awaitable[None]]) -> None:
        self._handle = handle
        self._taken: OrderedDict[int, None] = OrderedDict()
        self._tries: dict[int, int] = {}

    async def take(self, updates: Sequence[Received]) -> int | None:
        """Take a batch; returns the id of the first update that could not be taken."""
        chats: dict[int | None, list[Received]] = {}
        for received in updates:
            chats.setdefault(_chat(received.update), []).append(received)
        found = await asyncio.gather(*(self._in_order(each) for each in chats.values()))
        return min((id_ for id_ in found if id_ is not None), default=None)

    async def _in_order(self, updates: Sequence[Received]) -> int | None:
        for received in updates:
            if not await self.take_one(received):
                return received.id
        return None

    async def take_one(self, received: Received) -> bool:
        """Take one update; False where it is to be given again."""
        if received.update is None or received.id in self._taken:
            return True
        try:
            await self._handle(received.update)
        except KogptBotError as error:  # it could not be stored: it stays with Telegram
            log.warning("update_not_taken", update=received.id, why=str(error))
            return False
        except Exception:
            tries = self._tries[received.id] = self._tries.get(received.id, 0) + 1
            log.exception("update_failed", update=received.id, tries=tries)
            if tries < MAX_TRIES:
                return False
        self._tries.pop(received.id, None)
        self._taken[received.id] = None
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        return True


def _chat(update: Update | None) -> int | None:
    chat = update.effective_chat if update is not None else None
    return chat.id if chat is not None else None
