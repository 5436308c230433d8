"""The turns: which answers are owed, how far each has come, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.errors import TurnGone
from kogpt_bot.messages import ChannelKey
from kogpt_bot.store.messages import insert_message, storable
from kogpt_bot.store.rows import (
    OPEN_STATES,
    Room,
    message_query,
    message_value,
    turn_query,
    turn_value,
    update_turn,
)
from kogpt_bot.store.tables import channels, messages, outbox, turns
from kogpt_bot.store.values import (
    JsonValue,
    PartState,
    Reply,
    StoredMessage,
    Turn,
    TurnPlan,
    TurnState,
)


class TurnRoom(Room):
    """Reading and writing turns."""

    async def begin(self, turn: Turn, now: datetime) -> Turn:
        """Count one more attempt before it is made and say that the turn is generating.

        Raises TurnGone when it has ended or was erased.
        """
        change = (
            update(turns)
            .where(turns.c.id == turn.id, turns.c.state.in_(OPEN_STATES), self._ours)
            .values(
                state=TurnState.GENERATING,
                attempts=turns.c.attempts + 1,
                generating_at=now,
                updated_at=now,
            )
        )
        async with self._write() as connection:
            if not (await connection.execute(change)).rowcount:
                raise TurnGone(f"turn {turn.id} is not open any more")
            row = await connection.execute(turn_query().where(turns.c.id == turn.id))
            return turn_value(row.one())

    async def finish(
        self,
        turn: Turn,
        state: TurnState,
        now: datetime,
        outcome: Mapping[str, JsonValue],
        reply: Reply | None = None,
    ) -> StoredMessage | None:
        """Close the turn and record the answer that was shown, in one transaction.

        Raises TurnGone when it has ended already, or was erased.
        """
        async with self._write() as connection:
            known = select(turns.c.channel_id).where(
                turns.c.id == turn.id, turns.c.state.in_(OPEN_STATES), self._ours
            )
            channel_id = (await connection.execute(known)).scalar_one_or_none()
            if channel_id is None:
                raise TurnGone(f"turn {turn.id} is not open any more")
            await self.lock_channels(connection, channels.c.id == channel_id)
            stored = None
            if reply is not None:
                values = _reply_values(turn, channel_id, reply, now)
                stored = await insert_message(connection, turn.key, values)
            change = {
                "state": state,
                "outcome": dict(outcome),
                "reply_id": stored.id if stored else None,
                "updated_at": now,
                "ended_at": now,
            }
            await update_turn(connection, turn.id, change)
            await _close_outbox(connection, turn.id, state, now)
            if not self._database.is_sqlite:
                await _free(connection, channel_id)
            return stored

    async def last_replied(self, key: ChannelKey) -> tuple[Turn, StoredMessage] | None:
        """Return the newest answered turn since the channel was cleared, with its answer."""
        query = (
            turn_query()
            .where(
                channels.c.key == str(key),
                turns.c.reply_id.is_not(None),
                turns.c.reply_id > channels.c.cleared_through,
            )
            .order_by(turns.c.id.desc())
            .limit(1)
        )
        async with self._read() as connection:
            row = (await connection.execute(query)).first()
            if row is None:
                return None
            turn = turn_value(row)
            reply = await connection.execute(message_query().where(messages.c.id == turn.reply_id))
            return turn, message_value(reply.one())

    async def retract(self, turn: Turn, plan: TurnPlan, now: datetime) -> Turn:
        """Take the turn's answer back, out of the history too, and owe a new one.

        Raises TurnGone when it was erased, or its answer was taken back before.
        """
        async with self._write() as connection:
            known = select(turns.c.channel_id).where(turns.c.id == turn.id)
            channel_id = (await connection.execute(known)).scalar_one_or_none()
            if channel_id is None:
                raise TurnGone(f"turn {turn.id} was erased")
            taken = messages.delete().where(messages.c.id == turn.reply_id)
            if not (await connection.execute(taken)).rowcount:
                raise TurnGone(f"the answer of turn {turn.id} was taken back before")
            await self.own_channel(connection, channel_id)
            return await insert_turn(connection, channel_id, turn.message, plan, now)

    async def turn_states(self) -> dict[str, int]:
        """Return how many turns are in each state."""
        query = select(turns.c.state, func.count()).group_by(turns.c.state)
        async with self._read() as connection:
            return {str(state): int(n) for state, n in (await connection.execute(query)).all()}


def _reply_values(turn: Turn, channel_id: int, reply: Reply, now: datetime) -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "platform_id": reply.parts[0][0],
        "author_id": reply.author.id,
        "author_name": storable(reply.author.name),
        "author_is_bot": True,
        "by_this_bot": True,
        "text": storable(reply.text),
        "reply_to": turn.message.platform_id,
        "sent_at": now,
        "received_at": now,
        "parts": [[id_, storable(text)] for id_, text in reply.parts],
    }


async def _close_outbox(
    connection: AsyncConnection, turn_id: int, state: TurnState, now: datetime
) -> None:
    """Keep what was sent, not its text, which the message has; nothing is pending any more."""
    own = outbox.c.turn_id == turn_id
    pending = PartState.UNKNOWN if state is TurnState.UNKNOWN else PartState.UNSENT
    for before, after in ((PartState.PENDING, pending), (PartState.PLANNED, PartState.UNSENT)):
        left = update(outbox).where(own, outbox.c.state == before)
        await connection.execute(left.values(state=after, settled_at=now))
    await connection.execute(update(outbox).where(own).values(text=""))


async def _free(connection: AsyncConnection, channel_id: int) -> None:
    """Let any process have the channel next, if nothing is left to answer in it."""
    left = select(turns.c.id).where(
        turns.c.channel_id == channel_id, turns.c.state.in_(OPEN_STATES)
    )
    free = update(channels).where(channels.c.id == channel_id, ~left.exists())
    await connection.execute(free.values(owner=None))


async def insert_turn(
    connection: AsyncConnection,
    channel_id: int,
    message: StoredMessage,
    plan: TurnPlan,
    now: datetime,
) -> Turn:
    """Insert a turn that waits."""
    values = turn_values(channel_id, message.id, plan, now)
    made = await connection.execute(insert(turns).values(values).returning(turns.c.id))
    return turn_of(made.scalar_one(), message, plan, now)


def turn_values(
    channel_id: int, message_id: int, plan: TurnPlan, now: datetime
) -> dict[str, object]:
    """Return the row of a turn as its plan wants it."""
    refused = plan.refused is not None
    return {
        "channel_id": channel_id,
        "message_id": message_id,
        "state": TurnState.REFUSED if refused else TurnState.WAITING,
        "reason": plan.reason,
        "priority": plan.priority,
        "created_at": now,
        "updated_at": now,
        "ended_at": now if refused else None,
        "outcome": {"why": plan.refused} if refused else None,
    }


def turn_of(id_: int, message: StoredMessage, plan: TurnPlan, now: datetime) -> Turn:
    """Return the turn of a row that was just inserted."""
    state = TurnState.WAITING if plan.refused is None else TurnState.REFUSED
    return Turn(id_, message, state, plan.reason, plan.priority, 0, now)
