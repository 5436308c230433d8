"""The outbox: each platform message of an answer, recorded before it is sent.

An answer that is streamed records the first text of each of its messages; once the whole text is
known, `complete` records what every message shall say in the end. With that, an answer that was
interrupted anywhere is finished as it was meant, and nothing is shown twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.errors import TurnGone
from kogpt_bot.store.messages import storable
from kogpt_bot.store.rows import OPEN_STATES, Room
from kogpt_bot.store.tables import outbox, turns
from kogpt_bot.store.values import OutboxPart, PartState, Turn, TurnState


class OutboxRoom(Room):
    """Reading and writing the outbox."""

    async def record_part(self, turn: Turn, number: int, text: str, now: datetime) -> OutboxPart:
        """Record that a message is about to be sent. Raises TurnGone when the turn has ended."""
        async with self._write() as connection:
            await self._mark_sending(connection, turn, now)
            return await _insert(connection, turn, number, text, now, PartState.PENDING)

    async def record_answer(
        self, turn: Turn, texts: Sequence[str], now: datetime, state: PartState
    ) -> list[OutboxPart]:
        """Record the whole answer: what each message shall say; `state` is that of new ones.

        Messages beyond the answer's end, of an attempt that was interrupted, stay as they are.
        """
        async with self._write() as connection:
            await self._mark_sending(connection, turn, now, answer_parts=len(texts))
            known = {part.number: part for part in await _parts(connection, turn.id)}
            for number, text in enumerate(texts):
                if (part := known.get(number)) is None:
                    await _insert(connection, turn, number, text, now, state)
                elif part.text != text:
                    change = update(outbox).where(outbox.c.id == part.id)
                    await connection.execute(change.values(text=storable(text)))
            return await _parts(connection, turn.id)

    async def mark_part(
        self, part: OutboxPart, state: PartState, now: datetime, platform_id: str = ""
    ) -> OutboxPart:
        """Record what is known of a message now, and the id that the platform gave it.

        What was surely not sent and is pending now has a new key. Raises TurnGone when the
        message was erased.
        """
        again = {"recorded_at": now} if state is PartState.PENDING else {}
        change = (
            update(outbox)
            .where(outbox.c.id == part.id)
            .values(state=state, platform_id=storable(platform_id), settled_at=now, **again)
            .returning(outbox)
        )
        async with self._write() as connection:
            row = (await connection.execute(change)).one_or_none()
            if row is None:
                raise TurnGone(f"message {part.id} of the outbox was erased")
            return _part(row)

    async def outbox_parts(self, turn: Turn) -> list[OutboxPart]:
        """Return what was recorded of a turn's answer, in order."""
        async with self._read() as connection:
            return await _parts(connection, turn.id)

    async def outbox_depth(self) -> int:
        """Return how many messages are recorded and not known to be shown."""
        query = select(func.count()).where(
            outbox.c.state.in_([PartState.PLANNED, PartState.PENDING])
        )
        async with self._read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def _mark_sending(
        self, connection: AsyncConnection, turn: Turn, now: datetime, **change: object
    ) -> None:
        marked = (
            update(turns)
            .where(turns.c.id == turn.id, turns.c.state.in_(OPEN_STATES), self._ours)
            .values(
                state=TurnState.SENDING,
                sending_at=func.coalesce(turns.c.sending_at, now),
                updated_at=now,
                **change,
            )
        )
        if not (await connection.execute(marked)).rowcount:
            raise TurnGone(f"turn {turn.id} is not open any more")


async def _insert(
    connection: AsyncConnection,
    turn: Turn,
    number: int,
    text: str,
    now: datetime,
    state: PartState,
) -> OutboxPart:
    made = (
        insert(outbox)
        .values(
            turn_id=turn.id,
            number=number,
            text=storable(text),
            state=state,
            recorded_at=now,
        )
        .returning(outbox)
    )
    return _part((await connection.execute(made)).one())


async def _parts(connection: AsyncConnection, turn_id: int) -> list[OutboxPart]:
    query = select(outbox).where(outbox.c.turn_id == turn_id).order_by(outbox.c.number)
    return [_part(row) for row in (await connection.execute(query)).all()]


def _part(row: Row[Any]) -> OutboxPart:
    return OutboxPart(
        row.id, row.number, row.text, PartState(row.state), row.platform_id, row.recorded_at
    )
