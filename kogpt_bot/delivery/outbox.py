"""The outbox of one turn: what is about to be sent is recorded, and what came of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import datetime, timedelta

from kogpt_bot.clock import Clock
from kogpt_bot.delivery.persist import insist
from kogpt_bot.delivery.stream import Sending, SendUnknown
from kogpt_bot.errors import NotSent, RetryAfter
from kogpt_bot.store import OutboxPart, PartState, Store, Turn

# Discord checks a nonce against "the past few minutes" only; later, a repeated send shows twice.
KEY_LASTS = timedelta(seconds=120)
CLOCK_SLACK = timedelta(seconds=5)  # a part that is younger than this is of another time


class Gates:
    """Where sends carry no key, a platform's sends go out one at a time.

    So a crash leaves at most one of which nobody knows whether it was shown.
    """

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, adapter: str, *, keyed: bool) -> AbstractAsyncContextManager[object]:
        """Return what a send has to go through."""
        return nullcontext() if keyed else self._locks[adapter]


class TurnOutbox:
    """The `Ledger` of an answer, in the store. Every record is insisted on until it is on disk."""

    def __init__(
        self, store: Store, turn: Turn, clock: Clock, gates: Gates, *, keyed: bool
    ) -> None:
        self._store = store
        self._turn = turn
        self._clock = clock
        self._gates = gates
        self._keyed = keyed
        self._parts: dict[int, OutboxPart] = {}
        self._unsure: set[int] = set()  # parts that may have been shown by an earlier attempt

    async def load(self) -> list[OutboxPart]:
        """Return what earlier attempts have recorded, in order."""
        found = await insist(self._clock, lambda: self._store.outbox_parts(self._turn))
        self._parts = {part.number: part for part in found}
        self._unsure = {part.number for part in found if part.state is PartState.PENDING}
        return found

    @asynccontextmanager
    async def sending(self, number: int, text: str) -> AsyncIterator[Sending]:
        """Record that message `number` is being sent, and when it was, its id.

        Raises SendUnknown where an earlier attempt may have been shown, and the platform may have
        forgotten its key.
        """
        async with self._gates.of(self._turn.key.adapter, keyed=self._keyed):
            if (part := self._parts.get(number)) is None:
                self._parts[number] = await insist(
                    self._clock,
                    lambda: self._store.record_part(self._turn, number, text, self._clock.now()),
                )
            elif part.state is PartState.PLANNED:
                await self._mark(number, PartState.PENDING)
            elif number in self._unsure and not repeatable(part, self._clock.now()):
                raise SendUnknown("the platform knows its key no longer")
            sending = Sending(self._parts[number].nonce)
            try:
                yield sending
            except (RetryAfter, NotSent):
                if number not in self._unsure:
                    await self._mark(number, PartState.PLANNED)
                raise
            except BaseException:
                self._unsure.add(number)
                raise
            await self._mark(number, PartState.SHOWN, sending.message_id)

    async def _mark(self, number: int, state: PartState, message_id: str = "") -> None:
        part, now = self._parts[number], self._clock.now()
        self._parts[number] = await insist(
            self._clock, lambda: self._store.mark_part(part, state, now, message_id)
        )

    async def whole(self, texts: Sequence[str]) -> None:
        """Record all of the answer, before the rest of it is shown."""
        state = PartState.PENDING if self._keyed else PartState.PLANNED
        parts = await insist(
            self._clock,
            lambda: self._store.record_answer(self._turn, texts, self._clock.now(), state),
        )
        self._parts = {part.number: part for part in parts}


def repeatable(part: OutboxPart, now: datetime) -> bool:
    """Whether the platform still knows the key of a part that was being sent."""
    return -CLOCK_SLACK <= now - part.recorded_at <= KEY_LASTS
