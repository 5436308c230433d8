"""Erasing what one person said, and what speaks of it, so that not a byte of it stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.conversation.trigger import calls
from kogpt_bot.messages import ChannelKey
from kogpt_bot.store.profanity import erase_channel as erase_log_of
from kogpt_bot.store.profanity import erase_person as erase_from_log
from kogpt_bot.store.rows import OPEN_STATES
from kogpt_bot.store.settings import Transaction
from kogpt_bot.store.tables import (
    channels,
    feedback,
    messages,
    outbox,
    reports,
    settings,
    settings_audit,
    turns,
)
from kogpt_bot.store.values import TurnState

NAMES = 50  # of one person, in one query; databases limit the parameters


class Erasure:
    """Erases people; a person is a keyed hash, and the platform's id where that is stored."""

    def __init__(self, read: Transaction, write: Transaction) -> None:
        self._read = read
        self._write = write

    async def erase(
        self, person: str, adapter: str, user_id: str, key: ChannelKey | None = None
    ) -> int:
        """Erase a person in one channel, or on the whole platform; returns how many messages.

        Gone are the texts and names of their messages, the answers to them, answers to others
        that name them, their feedback and reports, reports about answers to them, and what the
        profanity log holds of all this. What stays
        of a message is its place: a platform may deliver it again, and it shall not be answered
        anew. In audits the person becomes nobody. Without a channel, chats of the person alone
        whose address is their id are erased whole.
        """
        async with self._write() as connection:
            where = _channels(adapter, key)
            theirs = and_(
                messages.c.channel_id.in_(where),
                messages.c.author_id == user_id,
                messages.c.by_this_bot.is_(False),
            )
            names = await _column(
                connection, select(messages.c.author_name).where(theirs).distinct()
            )
            places = await _column(
                connection, select(messages.c.channel_id).where(theirs).distinct()
            )
            await _erase_answers(connection, theirs)
            erased = await connection.execute(
                update(messages)
                .where(theirs)
                .values(author_id="", author_name="", text="", reply_to="", parts=None)
            )
            await _erase_mentions(connection, places, [name for name in names if name.strip()])
            await _erase_opinions(connection, person, key)
            await _leave_audits(connection, person, key)
            await erase_from_log(connection, person, str(key) if key is not None else "")
            if key is None:
                await _erase_own_chats(connection, adapter, user_id)
            return erased.rowcount


def _channels(adapter: str, key: ChannelKey | None) -> Select[Any]:
    query = select(channels.c.id)
    if key is not None:
        return query.where(channels.c.key == str(key))
    return query.where(channels.c.key.startswith(f"{adapter}/", autoescape=True))


async def _column(connection: AsyncConnection, query: Select[Any]) -> list[Any]:
    return list((await connection.execute(query)).scalars())


async def _erase_answers(connection: AsyncConnection, theirs: ColumnElement[bool]) -> None:
    """Erase the answers to somebody's messages, and close the turns that are still open."""
    own = select(messages.c.id).where(theirs)
    answers = select(turns.c.reply_id).where(
        turns.c.message_id.in_(own), turns.c.reply_id.is_not(None)
    )
    await connection.execute(delete(messages).where(messages.c.id.in_(answers)))
    await connection.execute(update(turns).where(turns.c.message_id.in_(own)).values(outcome=None))
    written = select(turns.c.id).where(turns.c.message_id.in_(own))
    await connection.execute(delete(outbox).where(outbox.c.turn_id.in_(written)))
    await connection.execute(
        update(turns)
        .where(turns.c.message_id.in_(own), turns.c.state.in_(OPEN_STATES))
        .values(state=TurnState.EXPIRED, outcome={"why": "forgotten"})
    )


async def _erase_mentions(
    connection: AsyncConnection, places: Sequence[int], names: Sequence[str]
) -> None:
    """Erase what the bot said to others that names the person, where both were."""
    for first in range(0, len(names), NAMES):
        some = names[first : first + NAMES]
        query = select(messages.c.id, messages.c.text).where(
            messages.c.channel_id.in_(places),
            messages.c.by_this_bot,
            or_(*(messages.c.text.contains(name, autoescape=True) for name in some)),
        )
        found = (await connection.execute(query)).all()
        ids = [row.id for row in found if any(_speaks_of(row.text, name) for name in some)]
        for start in range(0, len(ids), 500):
            chosen = messages.c.id.in_(ids[start : start + 500])
            await connection.execute(update(messages).where(chosen).values(text="", parts=None))
        await _erase_reports_that_name(connection, places, some)


async def _erase_reports_that_name(
    connection: AsyncConnection, places: Sequence[int], names: Sequence[str]
) -> None:
    texts = (reports.c.question, reports.c.answer, reports.c.reason)
    here = select(channels.c.key).where(channels.c.id.in_(places))
    query = select(reports.c.id, *texts).where(
        reports.c.channel.in_(here),
        or_(*(text.contains(name, autoescape=True) for name in names for text in texts)),
    )
    ids = [
        row.id
        for row in (await connection.execute(query)).all()
        if any(_speaks_of("\n".join(row[1:]), name) for name in names)
    ]
    await connection.execute(delete(reports).where(reports.c.id.in_(ids)))


def _speaks_of(text: str, name: str) -> bool:
    """Whether a text names somebody; one syllable is a name only as a word of its own."""
    return len(name.strip()) > 1 or calls(text, name)


async def _erase_opinions(connection: AsyncConnection, person: str, key: ChannelKey | None) -> None:
    judged = delete(feedback).where(feedback.c.person == person)
    reported = delete(reports).where(or_(reports.c.person == person, reports.c.asker == person))
    if key is not None:
        here = select(messages.c.id).where(messages.c.channel_id.in_(_channels("", key)))
        judged = judged.where(feedback.c.reply_id.in_(here))
        reported = reported.where(reports.c.channel == str(key))
    await connection.execute(judged)
    await connection.execute(reported)


async def _leave_audits(connection: AsyncConnection, person: str, key: ChannelKey | None) -> None:
    for table in (settings, settings_audit):
        change = update(table).where(table.c.changed_by == person).values(changed_by="")
        if key is not None:
            change = change.where(table.c.scope == str(key).removesuffix("/-"))
        await connection.execute(change)


async def _erase_own_chats(connection: AsyncConnection, adapter: str, user_id: str) -> None:
    """Erase the chats whose address is the person's id, and what was set for them."""
    query = select(channels.c.key).where(
        channels.c.key.startswith(f"{adapter}/-/", autoescape=True),
        channels.c.key.contains(user_id, autoescape=True),
    )
    for text in await _column(connection, query):
        if ChannelKey.parse(text).channel != user_id:
            continue
        await connection.execute(delete(channels).where(channels.c.key == text))
        await erase_log_of(connection, text)
        scope = text.rpartition("/")[0]
        for table in (settings, settings_audit):
            below = table.c.scope.startswith(f"{scope}/", autoescape=True)
            await connection.execute(delete(table).where(or_(table.c.scope == scope, below)))
