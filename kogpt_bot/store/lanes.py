"""Which process answers which channel, where several share one PostgreSQL database.

A channel (a lane) belongs to one process at a time: the one in `channels.owner`. A process takes
a free channel with its first open turn and frees it with its last, so that a channel's messages
are answered in order and once. Who owns channels counts a heartbeat up; whose count stands still
for too long, by the clock of those who watch, is taken for dead, and its channels are free. No
wall time is compared: a clock that is set changes nothing.

Every write on behalf of an answer asks, in its own transaction, whether the channel is still
ours. A process that slept through its own funeral can therefore send nothing more that was not
recorded before.

A SQLite file has one daemon: there, all channels are its own, and nothing of this is needed.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, delete, false, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.store.rows import OPEN_STATES, Room, turn_query, turn_value
from kogpt_bot.store.tables import channels, processes, turns
from kogpt_bot.store.values import Turn

CLAIM = 64  # channels at a time; the other processes get some as well


class LaneRoom(Room):
    """Claiming channels, and the heartbeats of those who have some."""

    @property
    def shared(self) -> bool:
        """Whether other processes may work with the same database."""
        return not self._database.is_sqlite

    async def join(self, now: datetime) -> None:
        """Be one of the processes that share the work; again after `beat` said that we are not."""
        me = self._database.process
        async with self._write() as connection:
            await connection.execute(delete(processes).where(processes.c.token == me))
            await connection.execute(insert(processes).values(token=me, beats=0, joined_at=now))

    async def beat(self) -> dict[str, int] | None:
        """Count our heartbeat up; return all of them, or None when we were taken for dead."""
        me = self._database.process
        async with self._write() as connection:
            change = update(processes).where(processes.c.token == me)
            counted = await connection.execute(change.values(beats=processes.c.beats + 1))
            if not counted.rowcount:
                return None
            rows = await connection.execute(select(processes.c.token, processes.c.beats))
            return {row.token: row.beats for row in rows.all()}

    async def bury(self, token: str, beats: int) -> bool:
        """Free the channels of a process whose count stood still; False if it moved after all."""
        async with self._write() as connection:
            gone = delete(processes).where(processes.c.token == token, processes.c.beats == beats)
            if not (await connection.execute(gone)).rowcount:
                return False
            await self._free_all(connection, token)
            return True

    async def leave(self) -> None:
        """Free our channels for the others."""
        me = self._database.process
        async with self._write() as connection:
            await self._free_all(connection, me)
            await connection.execute(delete(processes).where(processes.c.token == me))

    async def _free_all(self, connection: AsyncConnection, owner: str) -> None:
        theirs = channels.c.owner == owner
        await self.lock_channels(connection, theirs)
        await connection.execute(update(channels).where(theirs).values(owner=None))

    async def claim(self, adapters: Collection[str]) -> list[Turn]:
        """Return the open turns of these adapters in channels that are ours, oldest first.

        Channels that belong to no living process become ours. Those that another process is just
        claiming are left to it (SKIP LOCKED).
        """
        if not self.shared:
            return await self._open_turns(adapters)
        me = self._database.process
        alive = select(processes.c.token)
        waiting = select(turns.c.channel_id).where(turns.c.state.in_(OPEN_STATES))
        free = (
            select(channels.c.id)
            .where(
                channels.c.id.in_(waiting),
                _of(adapters),
                or_(channels.c.owner.is_(None), channels.c.owner.not_in(alive)),
            )
            .order_by(channels.c.id)
            .limit(CLAIM)
            .with_for_update(key_share=True, skip_locked=True)
        )
        async with self._write() as connection:
            claimed = list((await connection.execute(free)).scalars())
            taken = update(channels).where(channels.c.id.in_(claimed)).values(owner=me)
            await connection.execute(taken)
            query = (
                turn_query()
                .where(channels.c.owner == me, turns.c.state.in_(OPEN_STATES), _of(adapters))
                .order_by(turns.c.id)
                .with_for_update(of=turns, skip_locked=True)
            )
            return [turn_value(row) for row in (await connection.execute(query)).all()]

    async def _open_turns(self, adapters: Collection[str]) -> list[Turn]:
        query = (
            turn_query().where(turns.c.state.in_(OPEN_STATES), _of(adapters)).order_by(turns.c.id)
        )
        async with self._read() as connection:
            return [turn_value(row) for row in (await connection.execute(query)).all()]


def _of(adapters: Collection[str]) -> ColumnElement[bool]:
    """Return whether a channel is one of these adapters'."""
    return or_(false(), *(channels.c.key.startswith(f"{a}/", autoescape=True) for a in adapters))
