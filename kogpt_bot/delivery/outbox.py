"""The outbox of one turn: what is about to be sent is recorded, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kogpt_bot.clock import Clock
from kogpt_bot.delivery.persist import insist
from kogpt_bot.store import OutboxPart, PartState, Store, Turn

# Discord checks a nonce against "the past few minutes" only; later, a repeated send shows twice.
KEY_LASTS = timedelta(seconds=120)
CLOCK_SLACK = timedelta(seconds=5)  # a part that is younger than this is of another time


class TurnOutbox:
    """The `Ledger` of an answer, in the store. Every call insists until it is on disk."""

    def __init__(self, store: Store, turn: Turn, clock: Clock) -> None:
        self._store = store
        self._turn = turn
        self._clock = clock
        self._parts: dict[int, OutboxPart] = {}

    async def load(self) -> list[OutboxPart]:
        """Return what earlier attempts have recorded, in order."""
        found = await insist(self._clock, lambda: self._store.outbox_parts(self._turn))
        self._parts = {part.number: part for part in found}
        return found

    async def before_send(self, number: int, text: str) -> str:
        """Record that a message is about to be sent; returns its key."""
        if number not in self._parts:
            self._parts[number] = await insist(
                self._clock,
                lambda: self._store.record_part(self._turn, number, text, self._clock.now()),
            )
        return self._parts[number].nonce

    async def after_send(self, number: int, message_id: str) -> None:
        """Record that a message is shown, and its platform id."""
        part = self._parts[number]
        await insist(
            self._clock,
            lambda: self._store.settle_part(part, PartState.SHOWN, self._clock.now(), message_id),
        )

    async def whole(self, texts: Sequence[str]) -> None:
        """Record all of the answer, before the rest of it is shown."""
        parts = await insist(
            self._clock, lambda: self._store.record_answer(self._turn, texts, self._clock.now())
        )
        self._parts = {part.number: part for part in parts}


def repeatable(part: OutboxPart, now: datetime) -> bool:
    """Whether the platform still knows the key of a part that was being sent."""
    return -CLOCK_SLACK <= now - part.recorded_at <= KEY_LASTS
