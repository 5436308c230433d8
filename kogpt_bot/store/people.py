"""What is stored about people besides what they said: opt-outs, feedback, reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from kogpt_bot.store.settings import Transaction
from kogpt_bot.store.tables import feedback, opt_outs, reports
from kogpt_bot.store.values import JsonValue


@dataclass(frozen=True, slots=True)
class Report:
    """An answer that somebody found abnormal; people are keyed hashes."""

    at: datetime
    channel: str  # str(ChannelKey)
    person: str
    asker: str
    reason: str
    question: str
    answer: str
    outcome: JsonValue = None


class PeopleTable:
    """The tables about people, whom keyed hashes name."""

    def __init__(self, read: Transaction, write: Transaction) -> None:
        self._read = read
        self._write = write

    async def opted_out(self) -> set[str]:
        """Return everybody who wants nothing to be remembered."""
        async with self._read() as connection:
            return set((await connection.execute(select(opt_outs.c.person))).scalars())

    async def mark(self) -> tuple[int, datetime | None]:
        """Return what is different after each opt-out and opt-in."""
        query = select(func.count(), func.max(opt_outs.c.at)).select_from(opt_outs)
        async with self._read() as connection:
            count, newest = (await connection.execute(query)).one()
            return int(count), newest

    async def opt_out(self, person: str, at: datetime) -> bool:
        """Remember that nothing shall be remembered; returns whether that is news."""
        async with self._write() as connection:
            known = select(opt_outs.c.person).where(opt_outs.c.person == person)
            if (await connection.execute(known)).first() is not None:
                return False
            await connection.execute(insert(opt_outs).values(person=person, at=at))
            return True

    async def opt_in(self, person: str) -> bool:
        """Take an opt-out back; returns whether there was one."""
        async with self._write() as connection:
            gone = await connection.execute(delete(opt_outs).where(opt_outs.c.person == person))
            return gone.rowcount > 0

    async def tell_once(self, person: str, at: datetime) -> bool:
        """Return whether somebody who opted out is still to be told why there is no answer."""
        change = (
            update(opt_outs)
            .where(opt_outs.c.person == person, opt_outs.c.told_at.is_(None))
            .values(told_at=at)
        )
        async with self._write() as connection:
            return (await connection.execute(change)).rowcount > 0

    async def judge(self, reply_id: int, person: str, verdict: str, at: datetime) -> str:
        """Keep what somebody thinks of an answer, their newest opinion; returns the one before."""
        taken = (
            delete(feedback)
            .where(feedback.c.reply_id == reply_id, feedback.c.person == person)
            .returning(feedback.c.verdict)
        )
        async with self._write() as connection:
            before = (await connection.execute(taken)).scalar_one_or_none()
            await connection.execute(
                insert(feedback).values(reply_id=reply_id, person=person, verdict=verdict, at=at)
            )
        return before or ""

    async def reports(self) -> list[dict[str, Any]]:
        """Return every report as plain JSON, oldest first."""
        async with self._read() as connection:
            rows = (await connection.execute(select(reports).order_by(reports.c.id))).all()
        return [{**row._asdict(), "at": row.at.isoformat()} for row in rows]

    async def report(self, report: Report) -> int:
        """Keep a report; returns its number."""
        values = {
            "at": report.at,
            "channel": report.channel,
            "person": report.person,
            "asker": report.asker,
            "reason": report.reason,
            "question": report.question,
            "answer": report.answer,
            "outcome": report.outcome,
        }
        made = insert(reports).values(values).returning(reports.c.id)
        async with self._write() as connection:
            return int((await connection.execute(made)).scalar_one())
