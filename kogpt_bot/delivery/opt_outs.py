"""Who wants nothing to be remembered: asked for every message, so it is kept in memory."""

from __future__ import annotations

import asyncio
from datetime import datetime

from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store import Store


class OptOuts:
    """The opt-outs of the store; `load` before use, and again where others may have written."""

    def __init__(self, store: Store, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._pseudonyms = pseudonyms
        self._people: set[str] = set()
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Read them anew."""
        async with self._changing:
            self._people = await self._store.people.opted_out()

    def __contains__(self, person: str) -> bool:
        """Whether somebody, as a keyed hash, opted out."""
        return person in self._people

    def has(self, adapter: str, user_id: str) -> bool:
        """Whether somebody, as the platform names them, opted out."""
        return bool(self._people) and self._pseudonyms.person(adapter, user_id) in self._people

    async def tell_once(self, adapter: str, user_id: str, at: datetime) -> bool:
        """Return whether they are still to be told why they get no answer."""
        return await self._store.people.tell_once(self._pseudonyms.person(adapter, user_id), at)

    async def add(self, person: str, at: datetime) -> bool:
        """Opt somebody out; returns whether that is news."""
        async with self._changing:
            self._people.add(person)  # first: a message that comes in now is not stored any more
            return await self._store.people.opt_out(person, at)

    async def remove(self, person: str) -> bool:
        """Opt somebody in again; returns whether they were out."""
        async with self._changing:
            was_out = await self._store.people.opt_in(person)
            self._people.discard(person)
            return was_out
