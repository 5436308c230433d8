"""The inbox as adapters get it: each message is counted by what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from kogpt_bot.adapter import Inbox
from kogpt_bot.errors import Refused
from kogpt_bot.messages import Action, ActionResult, ChannelKey, Incoming, PastMessage
from kogpt_bot.metrics import Metrics


class CountedInbox:
    """An `Inbox` that counts and hands on."""

    def __init__(self, inbox: Inbox, metrics: Metrics) -> None:
        self._inbox = inbox
        self._metrics = metrics

    async def accept(self, message: Incoming) -> bool:
        """Count a message as answered, heard, refused or failed."""
        outcome = "failed"
        try:
            owed = await self._inbox.accept(message)
            outcome = "answered" if owed else "heard"
            return owed
        except Refused:
            outcome = "refused"
            raise
        finally:
            self._metrics.message(message.key.adapter, outcome)

    async def act(self, action: Action) -> ActionResult:
        """Hand it on."""
        return await self._inbox.act(action)

    async def amend(self, message: Incoming) -> None:
        """Hand it on."""
        await self._inbox.amend(message)

    async def withdraw(self, key: ChannelKey, message_id: str) -> None:
        """Hand it on."""
        await self._inbox.withdraw(key, message_id)

    async def history(self, key: ChannelKey, limit: int) -> Sequence[PastMessage]:
        """Hand it on."""
        return await self._inbox.history(key, limit)

    async def newest(self, adapter: str, since: datetime) -> Mapping[ChannelKey, str]:
        """Hand it on."""
        return await self._inbox.newest(adapter, since)
