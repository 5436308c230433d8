"""What the rooms of the store share: the queries and values of messages and turns, and channels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, Table, select, true, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.messages import Author, ChannelKey
from kogpt_bot.store.database import Database
from kogpt_bot.store.tables import channels, messages, turns
from kogpt_bot.store.values import StoredMessage, Turn, TurnState

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

OPEN_STATES = [state for state in TurnState if not state.ended]
KNOWN_CHANNELS = 10_000  # bounded; looking one up again is cheap


class ChannelIds:
    """The ids of the channels that were met lately."""

    def __init__(self) -> None:
        self._known: dict[ChannelKey, int] = {}

    def forget(self) -> None:
        """Look every channel up again: a row may be gone."""
        self._known.clear()

    async def get(
        self, connection: AsyncConnection, keys: Collection[ChannelKey], now: datetime
    ) -> dict[ChannelKey, int]:
        """Return the ids of channels; rows are made for new ones."""
        found = {key: self._known[key] for key in keys if key in self._known}
        wanted = {str(key): key for key in sorted(set(keys) - found.keys())}
        if not wanted:
            return found
        known = await _channels(connection, wanted)
        if len(self._known) + len(known) > KNOWN_CHANNELS:
            self._known.clear()
        self._known |= {wanted[text]: id_ for text, id_ in known.items()}
        # Those that are made now are not remembered yet: the transaction may still fail.
        rows = [{"key": text, "created_at": now} for text in wanted if text not in known]
        if rows:
            await connection.execute(insert_new(connection, channels), rows)
            known |= await _channels(connection, [row["key"] for row in rows])
        return found | {wanted[text]: id_ for text, id_ in known.items()}


async def _channels(connection: AsyncConnection, texts: Iterable[object]) -> dict[str, int]:
    query = select(channels.c.id, channels.c.key).where(channels.c.key.in_(texts))
    return {row.key: int(row.id) for row in (await connection.execute(query)).all()}


def insert_new(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an insert that leaves out rows that are there already."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql  # a large package, of use to few

    return postgresql.insert(table).on_conflict_do_nothing()


class Room:
    """One part of the store: its queries run in the transactions of one database."""

    def __init__(self, database: Database, channel_ids: ChannelIds) -> None:
        self._database = database
        self._read = database.read
        self._write = database.write
        self._channel_ids = channel_ids

    @property
    def _ours(self) -> ColumnElement[bool]:
        """Whether a turn's channel is this process's to answer; see `lanes.py`."""
        if self._database.is_sqlite:
            return true()
        mine = select(channels.c.id).where(channels.c.owner == self._database.process)
        return turns.c.channel_id.in_(mine)

    async def lock_channels(
        self, connection: AsyncConnection, which: ColumnElement[bool]
    ) -> dict[int, str | None]:
        """Lock channels to the transaction's end and return who owns each; see `lanes.py`.

        Everybody locks channels first, and in the order of their ids: no two transactions wait
        for each other. A SQLite file has one writer and needs no lock; nothing is returned.
        """
        if self._database.is_sqlite:
            return {}
        query = (
            select(channels.c.id, channels.c.owner)
            .where(which)
            .order_by(channels.c.id)
            .with_for_update(key_share=True)
        )
        return {row.id: row.owner for row in (await connection.execute(query)).all()}

    async def own_channel(self, connection: AsyncConnection, channel_id: int) -> None:
        """Make a channel ours to answer, if it is nobody's; see `lanes.py`."""
        if not self._database.is_sqlite:
            free = (channels.c.id == channel_id) & channels.c.owner.is_(None)
            me = self._database.process
            await connection.execute(update(channels).where(free).values(owner=me))


def id_of(key: ChannelKey) -> ScalarSelect[Any]:
    """Return the channel's id, as a subquery."""
    return select(channels.c.id).where(channels.c.key == str(key)).scalar_subquery()


def message_query() -> Select[Any]:
    """Return the query of messages with their channel's key."""
    return select(messages, channels.c.key.label("channel_key")).join(
        channels, channels.c.id == messages.c.channel_id
    )


def message_value(row: Row[Any]) -> StoredMessage:
    """Return the message of a row of `message_query`."""
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


_TURN_COLUMNS: Sequence[Any] = [column.label(f"turn_{column.name}") for column in turns.c]


def turn_query() -> Select[Any]:
    """Return the query of turns with their message and their channel's key."""
    return (
        select(messages, channels.c.key.label("channel_key"), *_TURN_COLUMNS)
        .select_from(turns)
        .join(messages, messages.c.id == turns.c.message_id)
        .join(channels, channels.c.id == turns.c.channel_id)
    )


def turn_value(row: Row[Any]) -> Turn:
    """Return the turn of a row of `turn_query`."""
    return Turn(
        id=row.turn_id,
        message=message_value(row),
        state=TurnState(row.turn_state),
        reason=row.turn_reason,
        priority=row.turn_priority,
        attempts=row.turn_attempts,
        created_at=row.turn_created_at,
        reply_id=row.turn_reply_id,
        answer_parts=row.turn_answer_parts,
    )


async def update_turn(connection: AsyncConnection, turn_id: int, change: Mapping[str, Any]) -> bool:
    """Change a turn; returns whether there is one."""
    changed = await connection.execute(update(turns).where(turns.c.id == turn_id).values(change))
    return bool(changed.rowcount)
