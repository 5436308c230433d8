"""Recording messages as they come in: many in one transaction, each on disk before it is taken.

A transaction costs a write to the disk whether it holds one message or fifty, so messages that
come at the same time share one (group commit).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.errors import RowRefused, StoreError
from kogpt_bot.messages import ChannelKey, Incoming
from kogpt_bot.store.database import Database
from kogpt_bot.store.messages import message_of, storable
from kogpt_bot.store.rows import ChannelIds, Room, insert_new
from kogpt_bot.store.tables import channels, messages, turns
from kogpt_bot.store.turns import turn_of, turn_values
from kogpt_bot.store.values import StoredMessage, Turn, TurnPlan, TurnState

GROUP = 50  # messages a transaction
GROUP_WAIT_S = 0.005  # for company; nobody notices it
WAITING = 2_000  # a database that is this far behind takes nothing more

Recorded: TypeAlias = "tuple[StoredMessage, Turn | None] | None"


@dataclass(slots=True, eq=False)
class _Entry:
    message: Incoming
    received_at: datetime
    plan: TurnPlan | None
    done: asyncio.Future[Recorded] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class RecordingRoom(Room):
    """Writing what is heard."""

    def __init__(self, database: Database, channel_ids: ChannelIds) -> None:
        super().__init__(database, channel_ids)
        self._entries: deque[_Entry] = deque()
        self._group_full = asyncio.Event()
        self._recorder: asyncio.Task[None] | None = None
        self._recording_ended = False

    @property
    def recording(self) -> int:
        """How many messages wait to be recorded."""
        return len(self._entries)

    async def record(
        self, message: Incoming, received_at: datetime, plan: TurnPlan | None
    ) -> Recorded:
        """Store a message and, with a plan, the turn that owes its answer, in one transaction.

        Returns None when the channel already holds a message of that platform id.
        """
        if self._recording_ended:
            raise StoreError("the database is closed")
        if len(self._entries) >= WAITING:
            raise StoreError(f"the database is behind by {WAITING} messages")
        entry = _Entry(message, received_at, plan)
        self._entries.append(entry)
        if len(self._entries) >= GROUP:
            self._group_full.set()
        if self._recorder is None or self._recorder.done():
            self._recorder = asyncio.create_task(self._record_groups(), name="record messages")
        return await entry.done

    async def catch_up(self) -> None:
        """Return once everything that waits now is recorded, or has failed."""
        if self._entries:
            await asyncio.wait([entry.done for entry in self._entries])

    async def stop_recording(self) -> None:
        """Record what waits, and take nothing more."""
        self._recording_ended = True
        if self._recorder is not None:
            await asyncio.wait([self._recorder])

    async def _record_groups(self) -> None:
        """Record until nothing waits. What comes during a transaction has waited long enough."""
        try:
            async with asyncio.timeout(GROUP_WAIT_S):
                await self._group_full.wait()
        except TimeoutError:
            pass
        while self._entries:
            self._group_full.clear()
            group = [self._entries.popleft() for _ in range(min(GROUP, len(self._entries)))]
            if waited_for := [entry for entry in group if not entry.done.done()]:
                await self._record_group(waited_for)

    async def _record_group(self, group: Sequence[_Entry]) -> None:
        """Record a group, or each alone where one of them is refused by the database."""
        try:
            for entry, recorded in zip(group, await self._insert_group(group), strict=True):
                _settle(entry, recorded)
        except RowRefused:
            self._channel_ids.forget()
            for entry in group:
                try:
                    _settle(entry, (await self._insert_group([entry]))[0])
                except StoreError as error:
                    _settle(entry, error)
        except StoreError as error:
            for entry in group:
                _settle(entry, error)
        except BaseException as error:
            for entry in group:
                _settle(entry, StoreError(f"recording was interrupted: {error!r}"))
            raise

    async def _insert_group(self, group: Sequence[_Entry]) -> list[Recorded]:
        """Insert the messages that are new, and their turns, in one transaction."""
        async with self._write() as connection:
            keys = [entry.message.key for entry in group]
            ids = await self._channel_ids.get(connection, keys, group[0].received_at)
            owners = await self.lock_channels(connection, channels.c.id.in_(ids.values()))
            rows: dict[tuple[int, str], dict[str, Any]] = {}
            first: dict[tuple[int, str], _Entry] = {}
            for entry in group:
                values = _message_values(entry, ids[entry.message.key])
                place = (values["channel_id"], values["platform_id"])
                rows.setdefault(place, values)
                first.setdefault(place, entry)
            made = await _insert_new(connection, list(rows.values()))
            stored = {
                first[place]: message_of(made[place], first[place].message.key, rows[place])
                for place in rows
                if place in made
            }
            owed = await _insert_turns(connection, ids, stored)
            if not self._database.is_sqlite:
                owed = await self._own(connection, ids, owners, owed)
        return [(stored[entry], owed.get(entry)) if entry in stored else None for entry in group]

    async def _own(
        self,
        connection: AsyncConnection,
        ids: Mapping[ChannelKey, int],
        owners: Mapping[int, str | None],
        owed: Mapping[_Entry, Turn],
    ) -> dict[_Entry, Turn]:
        """Take the free channels that we owe an answer in; mark the turns of other processes'."""
        me = self._database.process
        waiting = {ids[turn.key] for turn in owed.values() if not turn.state.ended}
        free = [channel for channel in waiting if owners.get(channel) is None]
        await connection.execute(update(channels).where(channels.c.id.in_(free)).values(owner=me))
        ours = {*free, *(channel for channel, owner in owners.items() if owner == me)}
        return {e: replace(turn, ours=ids[turn.key] in ours) for e, turn in owed.items()}


def _settle(entry: _Entry, result: Recorded | StoreError) -> None:
    if entry.done.done():  # who waited for it was cancelled
        return
    if isinstance(result, StoreError):
        entry.done.set_exception(result)
    else:
        entry.done.set_result(result)


def _message_values(entry: _Entry, channel_id: int) -> dict[str, Any]:
    message = entry.message
    return {
        "channel_id": channel_id,
        "platform_id": storable(message.message_id),
        "author_id": storable(message.author.id),
        "author_name": storable(message.author.name),
        "author_is_bot": message.author.is_bot,
        "by_this_bot": False,
        "text": storable(message.text),
        "reply_to": storable(message.reply_to),
        "sent_at": message.sent_at,
        "received_at": entry.received_at,
    }


async def _insert_new(
    connection: AsyncConnection, rows: list[dict[str, Any]]
) -> dict[tuple[int, str], int]:
    """Insert the messages whose place is free; return their ids."""
    made = insert_new(connection, messages).returning(
        messages.c.id, messages.c.channel_id, messages.c.platform_id
    )
    found = (await connection.execute(made, rows)).all()
    return {(row.channel_id, row.platform_id): row.id for row in found}


async def _insert_turns(
    connection: AsyncConnection, ids: dict[Any, int], stored: dict[_Entry, StoredMessage]
) -> dict[_Entry, Turn]:
    planned = [(entry, message, entry.plan) for entry, message in stored.items() if entry.plan]
    if not planned:
        return {}
    rows = [
        turn_values(ids[message.key], message.id, plan, entry.received_at)
        for entry, message, plan in planned
    ]
    made = insert(turns).returning(turns.c.id, turns.c.message_id)
    found = {row.message_id: row.id for row in (await connection.execute(made, rows)).all()}
    owed = {}
    for entry, message, plan in planned:
        turn = turn_of(found[message.id], message, plan, entry.received_at)
        if plan.joins is not None and await _join(connection, plan.joins, turn):
            turn = replace(turn, joined=plan.joins)
        owed[entry] = turn
    return owed


async def _join(connection: AsyncConnection, earlier: int, turn: Turn) -> bool:
    """Close an earlier turn whose message the new turn answers too; False once it is shown."""
    change = update(turns).where(
        turns.c.id == earlier, turns.c.state.in_([TurnState.WAITING, TurnState.GENERATING])
    )
    now = turn.created_at
    closed = await connection.execute(
        change.values(
            state=TurnState.REPLIED,
            outcome={"answered_by": turn.id},
            updated_at=now,
            ended_at=now,
        )
    )
    return bool(closed.rowcount)
