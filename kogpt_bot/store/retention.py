"""What is kept no longer: messages, reports and audits past their time, and channels left empty."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Table, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.store.rows import OPEN_STATES
from kogpt_bot.store.settings import Transaction
from kogpt_bot.store.tables import channels, messages, reports, settings_audit, turns

BATCH = 500  # rows a transaction: a message that comes in meanwhile waits some milliseconds


class Retention:
    """Erases what is old, in short transactions."""

    def __init__(self, write: Transaction) -> None:
        self._write = write

    async def erase_messages(self, before: datetime) -> int:
        """Erase messages received before, with their turns and opinions; returns how many.

        One whose answer is still owed stays until that has ended. Channels without a message,
        made before, go too: the address of a private chat may be a person's id.
        """
        erased = last = 0
        while True:
            async with self._write() as connection:
                old, last = await _old_messages(connection, last, before)
                owed = select(turns.c.message_id).where(
                    turns.c.message_id.in_(old), turns.c.state.in_(OPEN_STATES)
                )
                gone = delete(messages).where(messages.c.id.in_(old), messages.c.id.not_in(owed))
                erased += (await connection.execute(gone)).rowcount
            if len(old) < BATCH:
                break
        async with self._write() as connection:
            full = select(messages.c.id).where(messages.c.channel_id == channels.c.id)
            empty = delete(channels).where(channels.c.created_at < before, ~full.exists())
            await connection.execute(empty)
        return erased

    async def erase_reports(self, before: datetime) -> int:
        """Erase reports from before; returns how many."""
        return await self._erase(reports, before)

    async def erase_audits(self, before: datetime) -> int:
        """Erase who changed which setting, from before; returns how many."""
        return await self._erase(settings_audit, before)

    async def _erase(self, table: Table, before: datetime) -> int:
        async with self._write() as connection:
            return (await connection.execute(delete(table).where(table.c.at < before))).rowcount


async def _old_messages(
    connection: AsyncConnection, after: int, before: datetime
) -> tuple[list[int], int]:
    """Return the next batch of old messages' ids, and where the one after it begins.

    Ids grow with the time of receipt, so the first that is not old ends the search: the table
    is not read to its end.
    """
    query = (
        select(messages.c.id, messages.c.received_at)
        .where(messages.c.id > after)
        .order_by(messages.c.id)
        .limit(BATCH)
    )
    rows = (await connection.execute(query)).all()
    old = [row.id for row in rows if row.received_at < before]
    return old, rows[-1].id if rows else after
