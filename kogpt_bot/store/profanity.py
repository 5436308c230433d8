"""The profanity log's rows: texts, what was found in them, reviews, and what reviews allowed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.conversation.settings import scopes
from kogpt_bot.messages import ChannelKey
from kogpt_bot.store.profanity_values import (
    Allowed,
    Direction,
    Finding,
    Hit,
    HitFilter,
    HitPoint,
    HitText,
    Outcome,
    Verdict,
)
from kogpt_bot.store.tables import (
    profanity_allowed,
    profanity_hits,
    profanity_reviews,
    profanity_texts,
)

Transaction = Callable[[], AbstractAsyncContextManager[AsyncConnection]]

ERASED = "[erased]"
PARAMETERS = 500  # of one query; databases limit them
MAX_ALLOWED = 10_000  # phrases; more are no exceptions any more


class ProfanityTable:
    """Reads and writes the log. Hits and reviews are only ever added, until they are erased."""

    def __init__(self, read: Transaction, write: Transaction) -> None:
        self._read = read
        self._write = write

    async def record(self, text: HitText, found: Sequence[Finding]) -> tuple[HitText, list[Hit]]:
        """Add a text and what was found in it, in one transaction that is then on disk.

        A message or a name that is in the log already, unchanged, is not added again: then
        there are no new hits.
        """
        async with self._write() as connection:
            if text.direction is not Direction.ANSWER and await _known(connection, text):
                return text, []
            values = {name: value for name, value in asdict(text).items() if name != "id"}
            made = insert(profanity_texts).values(values).returning(profanity_texts.c.id)
            text = replace(text, id=int((await connection.execute(made)).scalar_one()))
            return text, await _add(connection, text, found)

    async def append(self, text: HitText, found: Sequence[Finding]) -> list[Hit]:
        """Add what was found later in the same text, and the text as it is by then."""
        async with self._write() as connection:
            await _bring_up(connection, text)
            return await _add(connection, text, found)

    async def complete(self, text: HitText) -> None:
        """Replace the text, which was not at its end when something was found, by all of it."""
        async with self._write() as connection:
            await _bring_up(connection, replace(text, complete=True))

    async def hit(self, hit_id: int) -> Hit | None:
        """Return one hit."""
        async with self._read() as connection:
            rows = await connection.execute(_query().where(profanity_hits.c.id == hit_id))
            row = rows.first()
        return None if row is None else _hit(row)

    async def hits(self, wanted: HitFilter) -> list[Hit]:
        """Return the hits that a filter lets through."""
        query = _filtered(_query(), wanted)
        order = profanity_hits.c.id.desc() if wanted.newest_first else profanity_hits.c.id
        async with self._read() as connection:
            rows = (await connection.execute(query.order_by(order).limit(wanted.limit))).all()
        return [_hit(row) for row in rows]

    async def points(self, wanted: HitFilter) -> list[HitPoint]:
        """Return of each hit only what is counted, the oldest first."""
        texts, hits = profanity_texts.c, profanity_hits.c
        columns = (
            texts.at, texts.channel, texts.direction, texts.outcome, hits.category, hits.severity,
            _NEWEST_VERDICT.label("verdict"),
        )  # fmt: skip
        query = select(*columns).select_from(_JOINED).order_by(hits.id)
        async with self._read() as connection:
            rows = (await connection.execute(_filtered(query, wanted))).all()
        return [
            HitPoint(
                row.at, row.channel, row.direction, row.outcome, row.category, row.severity,
                row.verdict or "none",
            )
            for row in rows
        ]  # fmt: skip

    async def review(
        self, hit: Hit, verdict: Verdict, *, by: str, at: datetime, allowed: Allowed | None
    ) -> None:
        """Add a review; a false alarm adds its phrase, and what the hit had allowed before goes."""
        async with self._write() as connection:
            row = {"hit_id": hit.id, "at": at, "verdict": verdict, "reviewer": by}
            await connection.execute(insert(profanity_reviews).values(row))
            own = profanity_allowed.c.hit_id == hit.id
            await connection.execute(delete(profanity_allowed).where(own))
            if allowed is None:
                return
            same = (
                profanity_allowed.c.scope == allowed.scope,
                profanity_allowed.c.phrase == allowed.phrase,
            )
            await connection.execute(delete(profanity_allowed).where(*same))
            entry = {**asdict(allowed), "hit_id": hit.id, "at": at, "reviewer": by}
            await connection.execute(insert(profanity_allowed).values(entry))

    async def allowed(self) -> list[Allowed]:
        """Return what reviews allowed, the newest first."""
        columns = (profanity_allowed.c.scope, profanity_allowed.c.phrase)
        query = select(*columns).order_by(profanity_allowed.c.at.desc()).limit(MAX_ALLOWED)
        async with self._read() as connection:
            return [Allowed(row.scope, row.phrase) for row in await connection.execute(query)]

    async def disallow(self, allowed: Allowed) -> bool:
        """Take back what a review allowed; returns whether it was there."""
        gone = delete(profanity_allowed).where(
            profanity_allowed.c.scope == allowed.scope,
            profanity_allowed.c.phrase == allowed.phrase,
        )
        async with self._write() as connection:
            return (await connection.execute(gone)).rowcount > 0

    async def erase_before(self, moment: datetime) -> int:
        """Erase the texts from before, with their hits and reviews; returns how many."""
        gone = delete(profanity_texts).where(profanity_texts.c.at < moment)
        async with self._write() as connection:
            return (await connection.execute(gone)).rowcount

    async def erase_channel(self, channel: str) -> int:
        """Erase what was found in a channel, and what was allowed there alone."""
        async with self._write() as connection:
            return await erase_channel(connection, channel)

    async def left(self, ids: Collection[int]) -> dict[int, bool]:
        """Return which of these hits are still there, and whether their texts are."""
        query = select(profanity_hits.c.id, profanity_texts.c.text).select_from(_JOINED)
        left: dict[int, bool] = {}
        asked = sorted(ids)
        async with self._read() as connection:
            for first in range(0, len(asked), PARAMETERS):
                some = profanity_hits.c.id.in_(asked[first : first + PARAMETERS])
                for row in await connection.execute(query.where(some)):
                    left[row.id] = row.text != ERASED
        return left

    async def erase_person(self, person: str, channel: str = "") -> int:
        """Erase a person as `erase_person` does, in a transaction of its own."""
        async with self._write() as connection:
            return await erase_person(connection, person, channel)


async def erase_person(connection: AsyncConnection, person: str, channel: str = "") -> int:
    """Erase what a person wrote or was answered; returns how many texts are gone.

    `person` is the keyed hash; with `channel` only there. Of answers to others for which the
    model had read the person's words, what was found stays, and not a word of the texts.
    """
    here = (profanity_texts.c.channel == channel,) if channel else ()
    gone = delete(profanity_texts).where(profanity_texts.c.person == person, *here)
    erased = (await connection.execute(gone)).rowcount
    read = (profanity_texts.c.people.contains(person, autoescape=True), *here)
    words = update(profanity_hits).where(
        profanity_hits.c.text_id.in_(select(profanity_texts.c.id).where(*read))
    )
    await connection.execute(words.values(word="", matched=""))
    blank = {"text": ERASED, "prompt": ERASED, "generated": ERASED, "request": None, "digest": ""}
    await connection.execute(update(profanity_texts).where(*read).values(blank))
    return erased


async def erase_channel(connection: AsyncConnection, channel: str) -> int:
    """Erase what was found in a channel, and what was allowed there alone."""
    scope = scopes(ChannelKey.parse(channel))[-1][1]
    entries = delete(profanity_allowed).where(profanity_allowed.c.scope == scope)
    await connection.execute(entries)
    gone = delete(profanity_texts).where(profanity_texts.c.channel == channel)
    return (await connection.execute(gone)).rowcount


async def _known(connection: AsyncConnection, text: HitText) -> bool:
    query = select(profanity_texts.c.id).where(
        profanity_texts.c.channel == text.channel,
        profanity_texts.c.message == text.message,
        profanity_texts.c.direction == text.direction,
        profanity_texts.c.digest == text.digest,
        profanity_texts.c.person == text.person,
    )
    return (await connection.execute(query)).first() is not None


async def _add(connection: AsyncConnection, text: HitText, found: Sequence[Finding]) -> list[Hit]:
    hits: list[Hit] = []
    for each in found:
        values = {"text_id": text.id, **asdict(each)}
        made = insert(profanity_hits).values(values).returning(profanity_hits.c.id)
        hits.append(Hit(int((await connection.execute(made)).scalar_one()), each, text))
    return hits


async def _bring_up(connection: AsyncConnection, text: HitText) -> None:
    values = {
        "text": text.text,
        "generated": text.generated,
        "digest": text.digest,
        "complete": text.complete,
    }
    change = update(profanity_texts).where(profanity_texts.c.id == text.id).values(values)
    await connection.execute(change)


_JOINED = profanity_hits.join(profanity_texts, profanity_texts.c.id == profanity_hits.c.text_id)
_NEWEST_VERDICT: Any = (
    select(profanity_reviews.c.verdict)
    .where(profanity_reviews.c.hit_id == profanity_hits.c.id)
    .order_by(profanity_reviews.c.id.desc())
    .limit(1)
    .correlate(profanity_hits)
    .scalar_subquery()
)


def _query() -> Select[Any]:
    texts = [column.label(f"of_{column.name}") for column in profanity_texts.c]
    verdict = _NEWEST_VERDICT.label("newest_verdict")
    return select(*profanity_hits.c, *texts, verdict).select_from(_JOINED)


def _filtered(query: Select[Any], wanted: HitFilter) -> Select[Any]:
    texts, hits = profanity_texts.c, profanity_hits.c
    query = query.where(hits.severity >= wanted.min_severity, hits.id > wanted.after)
    if wanted.since is not None:
        query = query.where(texts.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(texts.at < wanted.until)
    if wanted.channel:
        inside = texts.channel.startswith(f"{wanted.channel}/", autoescape=True)
        query = query.where(or_(texts.channel == wanted.channel, inside))
    if wanted.direction:
        query = query.where(texts.direction == wanted.direction)
    if wanted.category:
        query = query.where(hits.category == wanted.category)
    if wanted.verdict:
        none = _NEWEST_VERDICT.is_(None)
        same = wanted.verdict == _NEWEST_VERDICT
        query = query.where(none if wanted.verdict == "none" else same)
    return query


def _hit(row: Row[Any]) -> Hit:
    values = {column.name: getattr(row, f"of_{column.name}") for column in profanity_texts.c}
    values["direction"] = Direction(values["direction"])
    values["outcome"] = Outcome(values["outcome"])
    found = Finding(
        row.span_start,
        row.span_end,
        row.matched,
        row.word,
        row.canonical,
        row.category,
        row.severity,
        row.rule,
    )
    verdict = None if row.newest_verdict is None else Verdict(row.newest_verdict)
    return Hit(row.id, found, HitText(**values), verdict)
