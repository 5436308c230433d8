"""Reading and writing messages and turns; every query takes the channel's key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kogpt_bot.errors import StoreError
from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store.database import READ_ONLY, open_engine
from kogpt_bot.store.erasure import Erasure
from kogpt_bot.store.export import Export
from kogpt_bot.store.people import PeopleTable
from kogpt_bot.store.profanity import ProfanityTable
from kogpt_bot.store.settings import SettingsTable
from kogpt_bot.store.tables import channels, messages, turns
from kogpt_bot.store.values import JsonValue, Reply, StoredMessage, Turn, TurnPlan, TurnState

OVERLAP = 64  # an answer is recorded at most this many messages after its question


class Store:
    """The database of one daemon. Made by `open`; close it at the end.

    Writes are made one at a time, each a transaction of its own that is on disk when the call
    returns. Every method raises StoreError when the database fails.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writing = asyncio.Lock()  # SQLite has one writer; waiting here is fair and cheap
        self._channel_ids: dict[ChannelKey, int] = {}
        self.settings = SettingsTable(self._read, self._write)
        self.profanity = ProfanityTable(self._read, self._write)
        self.people = PeopleTable(self._read, self._write)
        self.erasure = Erasure(self._read, self._write)
        self.export = Export(self._read)

    @classmethod
    async def open(cls, url: str) -> Store:
        """Open the database, creating or upgrading its tables."""
        return cls(await open_engine(url))

    async def close(self) -> None:
        """Close every connection; SQLite's write-ahead log is folded into the file."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        async with self._writing, _translated(), self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        async with _translated(), self._engine.connect() as connection:
            yield await connection.execution_options(**{READ_ONLY: True})

    async def record(
        self, message: Incoming, received_at: datetime, plan: TurnPlan | None
    ) -> tuple[StoredMessage, Turn | None] | None:
        """Store a message and, with a plan, the turn that owes its answer, in one transaction.

        Returns None when the channel already holds a message of that platform id.
        """
        async with self._write() as connection:
            channel_id = await self._channel_id(connection, message.key, received_at)
            values = {
                "channel_id": channel_id,
                "platform_id": message.message_id,
                "author_id": message.author.id,
                "author_name": message.author.name,
                "author_is_bot": message.author.is_bot,
                "by_this_bot": False,
                "text": message.text,
                "reply_to": message.reply_to,
                "sent_at": message.sent_at,
                "received_at": received_at,
            }
            known = select(messages.c.id).where(
                messages.c.channel_id == channel_id, messages.c.platform_id == message.message_id
            )
            if (await connection.execute(known)).first() is not None:
                return None
            stored = await _insert_message(connection, message.key, values)
            if plan is None:
                return stored, None
            return stored, await _insert_turn(connection, channel_id, stored, plan, received_at)

    async def _channel_id(self, connection: AsyncConnection, key: ChannelKey, now: datetime) -> int:
        if (known := self._channel_ids.get(key)) is not None:
            return known
        query = select(channels.c.id).where(channels.c.key == str(key))
        row = (await connection.execute(query)).first()
        if row is None:
            made = insert(channels).values(key=str(key), created_at=now).returning(channels.c.id)
            return int((await connection.execute(made)).scalar_one())
        if len(self._channel_ids) >= 10_000:  # bounded; looking one up again is cheap
            self._channel_ids.clear()
        self._channel_ids[key] = int(row.id)
        return int(row.id)

    async def begin(self, turn: Turn, now: datetime) -> Turn:
        """Count one more attempt before it is made and say that the turn is generating."""
        async with self._write() as connection:
            change = {"state": TurnState.GENERATING, "attempts": turns.c.attempts + 1}
            await _update_turn(connection, turn.id, now, change)
            return await _turn(connection, turns.c.id == turn.id)

    async def mark(self, turn: Turn, state: TurnState, now: datetime) -> None:
        """Record how far the turn has come."""
        async with self._write() as connection:
            await _update_turn(connection, turn.id, now, {"state": state})

    async def finish(
        self,
        turn: Turn,
        state: TurnState,
        now: datetime,
        outcome: Mapping[str, JsonValue],
        reply: Reply | None = None,
    ) -> StoredMessage | None:
        """Close the turn and record the answer that was shown, in one transaction."""
        async with self._write() as connection:
            channel_id = await self._channel_id(connection, turn.key, now)
            stored = None
            if reply is not None:
                values = {
                    "channel_id": channel_id,
                    "platform_id": reply.parts[0][0],
                    "author_id": reply.author.id,
                    "author_name": reply.author.name,
                    "author_is_bot": True,
                    "by_this_bot": True,
                    "text": reply.text,
                    "reply_to": turn.message.platform_id,
                    "sent_at": now,
                    "received_at": now,
                    "parts": [list(part) for part in reply.parts],
                }
                stored = await _insert_message(connection, turn.key, values)
            change = {
                "state": state,
                "outcome": dict(outcome),
                "reply_id": stored.id if stored else None,
            }
            await _update_turn(connection, turn.id, now, change)
            return stored

    async def history(self, key: ChannelKey, limit: int) -> list[StoredMessage]:
        """Return the channel's last `limit` messages since it was cleared, oldest first.

        An answer stands right after the message that it answers, also where others have spoken
        while it was written.
        """
        newest = (
            select(messages.c.id)
            .join(channels, channels.c.id == messages.c.channel_id)
            .where(
                channels.c.key == str(key),
                messages.c.id > channels.c.cleared_through,
                messages.c.text != "",  # one that was deleted
            )
            .order_by(messages.c.id.desc())
            .limit(limit + OVERLAP)
        )
        place = func.coalesce(turns.c.message_id, messages.c.id)
        query = (
            _message_query()
            .outerjoin(turns, turns.c.reply_id == messages.c.id)
            .where(messages.c.id.in_(newest))
            .order_by(place.desc(), messages.c.id.desc())
            .limit(limit)
        )
        async with self._read() as connection:
            rows = (await connection.execute(query)).all()
        return [_message(row) for row in reversed(rows)]

    async def amend(self, message: Incoming) -> bool:
        """Replace the text of a message by its own author; returns whether there is one."""
        change = update(messages).where(
            messages.c.channel_id == _id_of(message.key),
            messages.c.platform_id == message.message_id,
            messages.c.author_id == message.author.id,
            messages.c.by_this_bot.is_(False),
        )
        async with self._write() as connection:
            found = await connection.execute(change.values(text=message.text))
            return found.rowcount > 0

    async def withdraw(self, key: ChannelKey, platform_id: str) -> bool:
        """Erase the text of a message that was deleted, out of the history too; by its id."""
        change = update(messages).where(
            messages.c.channel_id == _id_of(key), messages.c.platform_id == platform_id
        )
        async with self._write() as connection:
            found = await connection.execute(change.values(text="", parts=None))
            return found.rowcount > 0

    async def newest(self, adapter: str, since: datetime) -> dict[ChannelKey, str]:
        """Return each channel's last message of a person, where one was sent since then."""
        newest = (
            select(func.max(messages.c.id))
            .where(messages.c.by_this_bot.is_(False), messages.c.sent_at >= since)
            .group_by(messages.c.channel_id)
        )
        query = _message_query().where(
            messages.c.id.in_(newest), channels.c.key.startswith(f"{adapter}/", autoescape=True)
        )
        async with self._read() as connection:
            found = [_message(row) for row in (await connection.execute(query)).all()]
        return {message.key: message.platform_id for message in found}

    async def clear(self, key: ChannelKey) -> None:
        """Let nothing that was said so far be context any more."""
        newest = (
            select(func.coalesce(func.max(messages.c.id), 0))
            .where(messages.c.channel_id == channels.c.id)
            .scalar_subquery()
        )
        change = update(channels).where(channels.c.key == str(key)).values(cleared_through=newest)
        async with self._write() as connection:
            await connection.execute(change)

    async def unfinished(self, adapters: Collection[str]) -> list[Turn]:
        """Return the turns of these adapters that a stop or a crash left open, oldest first."""
        open_states = [state for state in TurnState if not state.ended]
        query = _turn_query().where(turns.c.state.in_(open_states)).order_by(turns.c.id)
        async with self._read() as connection:
            found = [_turn_value(row) for row in (await connection.execute(query)).all()]
        return [turn for turn in found if turn.key.adapter in adapters]

    async def last_replied(self, key: ChannelKey) -> tuple[Turn, StoredMessage] | None:
        """Return the newest answered turn since the channel was cleared, with its answer."""
        query = (
            _turn_query()
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
            turn = _turn_value(row)
            reply = await connection.execute(_message_query().where(messages.c.id == turn.reply_id))
            return turn, _message(reply.one())

    async def retract(self, turn: Turn, plan: TurnPlan, now: datetime) -> Turn:
        """Take the turn's answer back, out of the history too, and owe a new one."""
        async with self._write() as connection:
            channel_id = await self._channel_id(connection, turn.key, now)
            await connection.execute(messages.delete().where(messages.c.id == turn.reply_id))
            return await _insert_turn(connection, channel_id, turn.message, plan, now)

    async def turn_states(self) -> dict[str, int]:
        """Return how many turns are in each state."""
        query = select(turns.c.state, func.count()).group_by(turns.c.state)
        async with self._read() as connection:
            return {str(state): int(n) for state, n in (await connection.execute(query)).all()}

    async def check(self) -> None:
        """Raise StoreError unless the database answers."""
        async with self._read() as connection:
            await connection.execute(text("SELECT 1"))


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise StoreError(f"the database refused a row: {error.orig}") from error
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise StoreError(f"the database failed: {str(reason).splitlines()[0]}") from error


def _id_of(key: ChannelKey) -> ScalarSelect[Any]:
    return select(channels.c.id).where(channels.c.key == str(key)).scalar_subquery()


def _message_query() -> Select[Any]:
    return select(messages, channels.c.key.label("channel_key")).join(
        channels, channels.c.id == messages.c.channel_id
    )


def _message(row: Row[Any]) -> StoredMessage:
    return StoredMessage(
        id=row.id,
        key=ChannelKey.parse(row.channel_key),
        platform_id=row.platform_id,
        author=Author(row.author_id, row.author_name, row.author_is_bot),
        by_this_bot=row.by_this_bot,
        text=row.text,
        reply_to=row.reply_to,
        sent_at=row.sent_at,
        parts=tuple((id_, part) for id_, part in row.parts or ()),
    )


async def _insert_message(
    connection: AsyncConnection, key: ChannelKey, values: Mapping[str, Any]
) -> StoredMessage:
    made = await connection.execute(insert(messages).values(values).returning(messages.c.id))
    return StoredMessage(
        id=made.scalar_one(),
        key=key,
        platform_id=values["platform_id"],
        author=Author(values["author_id"], values["author_name"], values["author_is_bot"]),
        by_this_bot=values["by_this_bot"],
        text=values["text"],
        reply_to=values["reply_to"],
        sent_at=values["sent_at"],
        parts=tuple((id_, part) for id_, part in values.get("parts", ())),
    )


async def _insert_turn(
    connection: AsyncConnection,
    channel_id: int,
    message: StoredMessage,
    plan: TurnPlan,
    now: datetime,
) -> Turn:
    values = {
        "channel_id": channel_id,
        "message_id": message.id,
        "state": TurnState.WAITING,
        "reason": plan.reason,
        "priority": plan.priority,
        "created_at": now,
        "updated_at": now,
    }
    made = await connection.execute(insert(turns).values(values).returning(turns.c.id))
    return Turn(made.scalar_one(), message, TurnState.WAITING, plan.reason, plan.priority, 0, now)


async def _update_turn(
    connection: AsyncConnection, turn_id: int, now: datetime, change: Mapping[str, Any]
) -> None:
    await connection.execute(
        update(turns).where(turns.c.id == turn_id).values(updated_at=now, **change)
    )


_TURN_COLUMNS: Sequence[Any] = [column.label(f"turn_{column.name}") for column in turns.c]


def _turn_query() -> Select[Any]:
    return (
        select(messages, channels.c.key.label("channel_key"), *_TURN_COLUMNS)
        .select_from(turns)
        .join(messages, messages.c.id == turns.c.message_id)
        .join(channels, channels.c.id == turns.c.channel_id)
    )


def _turn_value(row: Row[Any]) -> Turn:
    return Turn(
        id=row.turn_id,
        message=_message(row),
        state=TurnState(row.turn_state),
        reason=row.turn_reason,
        priority=row.turn_priority,
        attempts=row.turn_attempts,
        created_at=row.turn_created_at,
        reply_id=row.turn_reply_id,
    )


async def _turn(connection: AsyncConnection, condition: Any) -> Turn:
    return _turn_value((await connection.execute(_turn_query().where(condition))).one())
