"""Finding answers and questions by the platform's ids, for commands that name them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, cast, delete, or_, select

from kogpt_bot.messages import ChannelKey
from kogpt_bot.store.rows import (
    OPEN_STATES,
    message_query,
    message_value,
    turn_query,
    turn_value,
)
from kogpt_bot.store.settings import Transaction
from kogpt_bot.store.tables import channels, messages, turns
from kogpt_bot.store.turns import insert_turn
from kogpt_bot.store.values import JsonValue, StoredMessage, Turn, TurnPlan, TurnState

if TYPE_CHECKING:
    from kogpt_bot.store.store import Store

RECENT = 20  # turns that a channel's usual time to answer is taken from


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and the turn that it closed."""

    turn: Turn
    reply: StoredMessage
    outcome: JsonValue


class Answers:
    """The answers of a store; every question is about one channel."""

    def __init__(self, store: Store) -> None:
        self._read: Transaction = store._read
        self._write: Transaction = store._write
        self._store = store

    async def find(self, key: ChannelKey, platform_id: str) -> Answered | None:
        """Return the answer that is shown, also in part, under a platform's id."""
        # A long answer is several messages; `parts` is JSON: [["id", "text"], ...].
        part = cast(messages.c.parts, Text).contains(json.dumps(platform_id), autoescape=True)
        query = (
            message_query()
            .where(
                channels.c.key == str(key),
                messages.c.by_this_bot,
                or_(messages.c.platform_id == platform_id, part),
            )
            .order_by(messages.c.id.desc())
        )
        async with self._read() as connection:
            found = [message_value(row) for row in (await connection.execute(query)).all()]
        reply = next((each for each in found if platform_id in each.platform_ids), None)
        return None if reply is None else await self._answered(reply)

    async def last(self, key: ChannelKey) -> Answered | None:
        """Return the channel's newest answer since it was cleared."""
        found = await self._store.last_replied(key)
        return None if found is None else await self._answered(found[1])

    async def _answered(self, reply: StoredMessage) -> Answered | None:
        query = turn_query().where(turns.c.reply_id == reply.id)
        async with self._read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Answered(turn_value(row), reply, row.turn_outcome)

    async def question(self, key: ChannelKey, platform_id: str) -> StoredMessage | None:
        """Return what somebody said, by its platform's id; None for what is not known."""
        query = message_query().where(
            channels.c.key == str(key),
            messages.c.platform_id == platform_id,
            messages.c.by_this_bot.is_(False),
            messages.c.text != "",
        )
        async with self._read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else message_value(row)

    async def open_turn(self, key: ChannelKey) -> Turn | None:
        """Return the turn that is being answered in a channel."""
        return await self._first_turn(
            channels.c.key == str(key),
            turns.c.state.in_([TurnState.GENERATING, TurnState.SENDING]),
        )

    async def open_turns(self, adapter: str, author_id: str) -> list[Turn]:
        """Return the turns of one person that are not ended."""
        query = turn_query().where(
            channels.c.key.startswith(f"{adapter}/", autoescape=True),
            messages.c.author_id == author_id,
            messages.c.by_this_bot.is_(False),
            turns.c.state.in_(OPEN_STATES),
        )
        async with self._read() as connection:
            return [turn_value(row) for row in (await connection.execute(query)).all()]

    async def turn_of(self, question: StoredMessage) -> Turn | None:
        """Return the newest turn that owes, or has given, an answer to a message."""
        return await self._first_turn(turns.c.message_id == question.id)

    async def _first_turn(self, *conditions: Any) -> Turn | None:
        query = turn_query().where(*conditions).order_by(turns.c.id.desc()).limit(1)
        async with self._read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else turn_value(row)

    async def owe(self, question: StoredMessage, plan: TurnPlan, now: datetime) -> Turn | None:
        """Owe an answer to a message that was stored before; None where it is owed or given."""
        known = select(turns.c.id).where(
            turns.c.message_id == question.id,
            or_(turns.c.state.in_(OPEN_STATES), turns.c.reply_id.is_not(None)),
        )
        async with self._write() as connection:
            if (await connection.execute(known)).first() is not None:
                return None
            query = select(messages.c.channel_id).where(messages.c.id == question.id)
            channel_id = (await connection.execute(query)).scalar_one()
            await self._store.own_channel(connection, channel_id)
            return await insert_turn(connection, channel_id, question, plan, now)

    async def take_back(self, reply: StoredMessage) -> None:
        """Erase an answer, out of the history too."""
        async with self._write() as connection:
            await connection.execute(delete(messages).where(messages.c.id == reply.id))

    async def usual_seconds(self, adapter: str) -> float | None:
        """Return how long the newest answers of a platform took on average, from the question on.

        None where there were none.
        """
        query = (
            select(turns.c.created_at, turns.c.updated_at)
            .join(channels, channels.c.id == turns.c.channel_id)
            .where(
                turns.c.state == TurnState.REPLIED,
                channels.c.key.startswith(f"{adapter}/", autoescape=True),
            )
            .order_by(turns.c.id.desc())
            .limit(RECENT)
        )
        async with self._read() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return None
        return float(fmean((row.updated_at - row.created_at).total_seconds() for row in rows))
