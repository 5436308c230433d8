"""All that is stored about one person, as plain JSON, for them to read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.store.settings import Transaction
from kogpt_bot.store.tables import (
    channels,
    feedback,
    messages,
    opt_outs,
    profanity_hits,
    profanity_texts,
    reports,
    settings_audit,
    turns,
)

Rows = list[dict[str, Any]]


class Export:
    """Reads the tables for one person: a keyed hash, and the platform's id."""

    def __init__(self, read: Transaction) -> None:
        self._read = read

    async def of(
        self, person: str, adapter: str, user_id: str, *, limit: int | None = None
    ) -> dict[str, Any]:
        """Return everything, the newest `limit` messages and answers where there is a limit."""
        async with self._read() as connection:
            said = await _said(connection, adapter, user_id, limit)
            return {
                "adapter": adapter,
                "user": user_id,
                "opted_out_since": await _opted_out(connection, person),
                "complete": limit is None or len(said) < limit,
                "messages": said,
                "answers": await _answers(connection, adapter, user_id, limit),
                "feedback": await _feedback(connection, person),
                "reports": await _reports(connection, person),
                "settings_changed": await _changes(connection, person),
                "profanity": await _found(connection, person),
            }


async def _said(connection: AsyncConnection, adapter: str, user_id: str, limit: int | None) -> Rows:
    query = (
        select(messages.c.sent_at, messages.c.author_name, messages.c.text, channels.c.key)
        .join(channels, channels.c.id == messages.c.channel_id)
        .where(
            channels.c.key.startswith(f"{adapter}/", autoescape=True),
            messages.c.author_id == user_id,
            messages.c.by_this_bot.is_(False),
        )
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    return [
        {
            "at": row.sent_at.isoformat(),
            "channel": row.key,
            "name": row.author_name,
            "text": row.text,
        }
        for row in reversed(rows)
    ]


async def _answers(
    connection: AsyncConnection, adapter: str, user_id: str, limit: int | None
) -> Rows:
    question = messages.alias("question")
    query = (
        select(messages.c.sent_at, messages.c.text, channels.c.key, turns.c.outcome)
        .join(turns, turns.c.reply_id == messages.c.id)
        .join(question, question.c.id == turns.c.message_id)
        .join(channels, channels.c.id == messages.c.channel_id)
        .where(
            channels.c.key.startswith(f"{adapter}/", autoescape=True),
            question.c.author_id == user_id,
        )
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    return [
        {
            "at": row.sent_at.isoformat(),
            "channel": row.key,
            "text": row.text,
            "how": row.outcome,
        }
        for row in reversed(rows)
    ]


async def _found(connection: AsyncConnection, person: str) -> Rows:
    """Return what the profanity log holds of what the person wrote or was answered."""
    found, text = profanity_hits.c, profanity_texts.c
    query = (
        select(text.at, text.channel, text.direction, text.outcome, text.text, found.matched)
        .join(profanity_texts, text.id == found.text_id)
        .where(text.person == person)
        .order_by(found.id)
    )
    rows = (await connection.execute(query)).all()
    return [{**row._asdict(), "at": row.at.isoformat()} for row in rows]


async def _opted_out(connection: AsyncConnection, person: str) -> str | None:
    query = select(opt_outs.c.at).where(opt_outs.c.person == person)
    at = (await connection.execute(query)).scalar_one_or_none()
    return None if at is None else at.isoformat()


async def _feedback(connection: AsyncConnection, person: str) -> Rows:
    query = (
        select(feedback.c.at, feedback.c.verdict, messages.c.text, channels.c.key)
        .join(messages, messages.c.id == feedback.c.reply_id)
        .join(channels, channels.c.id == messages.c.channel_id)
        .where(feedback.c.person == person)
        .order_by(feedback.c.id)
    )
    return [
        {
            "at": row.at.isoformat(),
            "channel": row.key,
            "answer": row.text,
            "verdict": row.verdict,
        }
        for row in (await connection.execute(query)).all()
    ]


async def _reports(connection: AsyncConnection, person: str) -> Rows:
    """Return what they reported; of reports by others about answers to them, the answer only."""
    query = (
        select(reports)
        .where((reports.c.person == person) | (reports.c.asker == person))
        .order_by(reports.c.id)
    )
    return [
        {
            "at": row.at.isoformat(),
            "channel": row.channel,
            "by_you": row.person == person,
            "reason": row.reason if row.person == person else "",
            "answer": row.answer,
        }
        for row in (await connection.execute(query)).all()
    ]


async def _changes(connection: AsyncConnection, person: str) -> Rows:
    query = (
        select(settings_audit)
        .where(settings_audit.c.changed_by == person)
        .order_by(settings_audit.c.id)
    )
    return [
        {
            "at": row.at.isoformat(),
            "scope": row.scope,
            "key": row.key,
            "old": row.old,
            "new": row.new,
        }
        for row in (await connection.execute(query)).all()
    ]
