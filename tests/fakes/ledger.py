"""A ledger in memory: it writes down in order what it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from kogpt_bot.delivery.stream import Sending


class FakeLedger:
    """`events` has (what, number or number of texts)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.texts: list[str] = []

    @asynccontextmanager
    async def sending(self, number: int, text: str) -> AsyncIterator[Sending]:
        self.events.append(("before", number))
        sending = Sending(f"n7.{number}")
        yield sending
        assert sending.message_id
        self.events.append(("after", number))

    async def whole(self, texts: Sequence[str]) -> None:
        self.events.append(("whole", len(texts)))
        self.texts = list(texts)
