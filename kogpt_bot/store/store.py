"""The store: one face for everything that is kept, and the rooms behind it."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import text

from kogpt_bot.errors import StoreError
from kogpt_bot.store.database import Database
from kogpt_bot.store.erasure import Erasure
from kogpt_bot.store.export import Export
from kogpt_bot.store.lanes import LaneRoom
from kogpt_bot.store.messages import MessageRoom
from kogpt_bot.store.outbox import OutboxRoom
from kogpt_bot.store.people import PeopleTable
from kogpt_bot.store.profanity import ProfanityTable
from kogpt_bot.store.recording import RecordingRoom
from kogpt_bot.store.retention import Retention
from kogpt_bot.store.rows import ChannelIds
from kogpt_bot.store.settings import SettingsTable
from kogpt_bot.store.turns import TurnRoom


class Store(MessageRoom, TurnRoom, OutboxRoom, LaneRoom, RecordingRoom):
    """The database of one daemon. Made by `open`; close it at the end.

    Its rooms are classes of their own, one a module; a method's transaction is on disk when the
    call returns. Every method raises StoreError when the database fails.
    """

    def __init__(self, database: Database) -> None:
        channel_ids = ChannelIds()
        super().__init__(database, channel_ids)
        database.on_replaced.append(channel_ids.forget)
        self.settings = SettingsTable(self._read, self._write)
        self.profanity = ProfanityTable(self._read, self._write)
        self.people = PeopleTable(self._read, self._write)
        self.erasure = Erasure(self._read, self._write)
        self.export = Export(self._read)
        self.retention = Retention(self._write)

    @classmethod
    async def open(cls, url: str, *, heals: bool = False) -> Store:
        """Open the database, creating or upgrading its tables.

        `heals` is for the daemon that a SQLite file belongs to: see `Database`.
        """
        return cls(await Database.open(url, heals=heals))

    async def close(self) -> None:
        """Record what was promised, leave the rest to the others, and close every connection."""
        await self.stop_recording()
        if self.shared:
            with suppress(StoreError):  # it fails: the others will notice that we are gone
                await self.leave()
        await self._database.close()

    async def check(self) -> None:
        """Raise StoreError unless the database answers."""
        async with self._read() as connection:
            await connection.execute(text("SELECT 1"))
