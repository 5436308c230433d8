"""A ledger in memory: it writes down in order what it was told."""

from __future__ import annotations

from collections.abc import Sequence


class FakeLedger:
    """`events` has (what, number or number of texts)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.texts: list[str] = []

    async def before_send(self, number: int, text: str) -> str:
        self.events.append(("before", number))
        return f"n7.{number}"

    async def after_send(self, number: int, message_id: str) -> None:
        self.events.append(("after", number))

    async def whole(self, texts: Sequence[str]) -> None:
        self.events.append(("whole", len(texts)))
        self.texts = list(texts)
