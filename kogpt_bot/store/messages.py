"""The messages of the channels: what was said, in order, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store.rows import Room, id_of, message_query, message_value
from kogpt_bot.store.tables import channels, messages, turns
from kogpt_bot.store.values import StoredMessage

OVERLAP = 64  # an answer is recorded at most this many messages after its question


class MessageRoom(Room):
    """Reading and changing messages; every query takes the channel's key."""

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
            message_query()
            .outerjoin(turns, turns.c.reply_id == messages.c.id)
            .where(messages.c.id.in_(newest))
            .order_by(place.desc(), messages.c.id.desc())
            .limit(limit)
        )
        async with self._read() as connection:
            rows = (await connection.execute(query)).all()
        return [message_value(row) for row in reversed(rows)]

    async def amend(self, message: Incoming) -> bool:
        """Replace the text of a message by its own author; returns whether there is one."""
        change = update(messages).where(
            messages.c.channel_id == id_of(message.key),
            messages.c.platform_id == message.message_id,
            messages.c.author_id == message.author.id,
            messages.c.by_this_bot.is_(False),
        )
        async with self._write() as connection:
            found = await connection.execute(change.values(text=storable(message.text)))
            return found.rowcount > 0

    async def withdraw(self, key: ChannelKey, platform_id: str) -> bool:
        """Erase the text of a message that was deleted, out of the history too; by its id."""
        change = update(messages).where(
            messages.c.channel_id == id_of(key), messages.c.platform_id == platform_id
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
        query = message_query().where(
            messages.c.id.in_(newest), channels.c.key.startswith(f"{adapter}/", autoescape=True)
        )
        async with self._read() as connection:
            found = [message_value(row) for row in (await connection.execute(query)).all()]
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


def storable(text: str) -> str:
    """Return `text` as every database takes it: no NUL, no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


async def insert_message(
    connection: AsyncConnection, key: ChannelKey, values: dict[str, Any]
) -> StoredMessage:
    """Insert one message; `values` are the row's."""
    made = await connection.execute(insert(messages).values(values).returning(messages.c.id))
    return message_of(made.scalar_one(), key, values)


def message_of(id_: int, key: ChannelKey, values: dict[str, Any]) -> StoredMessage:
    """Return the message of a row that was just inserted."""
    return StoredMessage(
        id=id_,
        key=key,
        platform_id=values["platform_id"],
        author=Author(values["author_id"], values["author_name"], values["author_is_bot"]),
        by_this_bot=values["by_this_bot"],
        text=values["text"],
        reply_to=values["reply_to"],
        sent_at=values["sent_at"],
        parts=tuple((id_, part) for id_, part in values.get("parts", ())),
    )
