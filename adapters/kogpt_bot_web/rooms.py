"""Rooms: what was said in each, and who is watching it now."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_ROOMS = 1000  # in memory; a room without watchers is dropped first and read again from history
MAX_SHOWN = 200  # messages of one room
MAX_WATCHERS = 500  # open pages in all
QUIET_S = 60.0  # longer than between an answer being shown and being recorded
MAX_UNREAD = 256  # events that a page may be behind; then it starts again from a snapshot

Event = dict[str, Any]  # as JSON goes to the page


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the page shows it; `at` is seconds since 1970."""

    id: str
    author: str
    text: str
    at: float
    bot: bool
    final: bool = True
    offers: tuple[str, ...] = ()  # the actions that people may take from under it

    def event(self) -> Event:
        """Return the event that shows it, or replaces what was shown under its id."""
        return {"type": "message", "message": self.fields()}

    def fields(self) -> Event:
        """Return it as JSON."""
        return {
            "id": self.id,
            "author": self.author,
            "text": self.text,
            "at": self.at,
            "bot": self.bot,
            "final": self.final,
            "offers": self.offers,
        }


class Watcher:
    """One open page: the events that it has not read yet. `lost` ends it."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(MAX_UNREAD + 1)
        self.lost = False

    def tell(self, event: Event) -> None:
        """Hand over an event; a page that is too far behind is let go, and comes back."""
        if self.lost:
            return
        if self._events.qsize() >= MAX_UNREAD:
            self.end()
        else:
            self._events.put_nowait(event)

    def end(self) -> None:
        """Let the page go."""
        if not self.lost:
            self.lost = True
            self._events.put_nowait(None)

    async def next(self) -> Event | None:
        """Return the next event; None when the page is let go."""
        return await self._events.get()


class Room:
    """One conversation: its messages by id, in order, and its watchers."""

    def __init__(self, name: str, past: Iterable[Message]) -> None:
        self.name = name
        self.watchers: set[Watcher] = set()
        self._messages: OrderedDict[str, Message] = OrderedDict((m.id, m) for m in past)
        self._changed_at = time.monotonic()

    @property
    def quiet(self) -> bool:
        """Whether nobody watches and nothing has happened for a while.

        What it shows may have been erased elsewhere: whoever opens it reads the history again.
        """
        return not self.watchers and time.monotonic() - self._changed_at > QUIET_S

    def snapshot(self) -> Event:
        """Return everything that is shown now."""
        return {"type": "snapshot", "messages": [m.fields() for m in self._messages.values()]}

    def get(self, message_id: str) -> Message | None:
        """Return a message."""
        return self._messages.get(message_id)

    def put(self, message: Message) -> None:
        """Show a message, or its new text."""
        self._changed_at = time.monotonic()
        self._messages[message.id] = message
        while len(self._messages) > MAX_SHOWN:
            self._messages.popitem(last=False)
        self.tell(message.event())

    def remove(self, message_id: str) -> None:
        """Remove a message, if it is there."""
        if self._messages.pop(message_id, None):
            self.tell({"type": "delete", "id": message_id})

    def replace(self, messages: Iterable[Message]) -> None:
        """Show these messages and no others."""
        self._messages = OrderedDict((m.id, m) for m in messages)
        self.tell(self.snapshot())

    def tell(self, event: Event) -> None:
        """Hand an event to every open page."""
        for watcher in self.watchers:
            watcher.tell(event)


class Rooms:
    """All rooms in memory, the least recently used without a watcher dropped first."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[str, Room] = OrderedDict()

    def get(self, name: str) -> Room | None:
        """Return a room, if it is in memory."""
        room = self._rooms.get(name)
        if room is not None:
            self._rooms.move_to_end(name)
        return room

    def add(self, room: Room) -> Room:
        """Keep a room; returns the one that was there first."""
        kept = self._rooms.setdefault(room.name, room)
        if len(self._rooms) > MAX_ROOMS:
            idle = next((r for r in self._rooms.values() if not r.watchers and r is not kept), None)
            if idle is not None:
                del self._rooms[idle.name]
        return kept

    def all(self) -> list[Room]:
        """Return every room in memory."""
        return list(self._rooms.values())

    @property
    def watchers(self) -> int:
        """How many pages are open."""
        return sum(len(room.watchers) for room in self._rooms.values())

    def end(self) -> None:
        """Let every page go."""
        for room in self._rooms.values():
            for watcher in room.watchers:
                watcher.end()
