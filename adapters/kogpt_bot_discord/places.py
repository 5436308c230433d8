"""Where things are said: a channel's address, and whether the bot is to listen there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import discord

from kogpt_bot import ChannelKey
from kogpt_bot_discord.settings import DiscordSettings, Places

NAME = "discord"
MAX_PARENTS = 10_000  # threads whose channel is remembered
THREAD_TYPES = (10, 11, 12)  # of announcements, public, private

Fetch = Callable[[int], Awaitable[dict[str, Any] | None]]  # None: not to be had now


def place(key: ChannelKey) -> str:
    """Return the id of the channel or the thread in which a conversation is."""
    return key.thread or key.channel


class Addresses:
    """The address of each channel; a thread's needs its parent, which is asked for once."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._parents: OrderedDict[int, str] = OrderedDict()  # thread -> channel, "": no thread

    async def of(self, channel_id: int, guild_id: int | None, channel: object) -> ChannelKey:
        """Return the address; `channel` is what discord.py knows of it, if anything."""
        if guild_id is None:
            return ChannelKey(NAME, str(channel_id))
        parent = await self._parent(channel_id, channel)
        if parent:
            return ChannelKey(NAME, parent, str(guild_id), str(channel_id))
        return ChannelKey(NAME, str(channel_id), str(guild_id))

    async def _parent(self, channel_id: int, channel: object) -> str:
        if isinstance(channel, discord.Thread):
            return str(channel.parent_id)
        if isinstance(channel, discord.abc.GuildChannel):
            return ""
        if channel_id not in self._parents:
            found = await self._fetch(channel_id)
            if found is None:
                return ""
            threaded = found.get("type") in THREAD_TYPES and found.get("parent_id")
            self._remember(channel_id, str(found["parent_id"]) if threaded else "")
        return self._parents[channel_id]

    def _remember(self, channel_id: int, parent: str) -> None:
        self._parents[channel_id] = parent
        if len(self._parents) > MAX_PARENTS:
            self._parents.popitem(last=False)


class Gate:
    """The allow and block lists."""

    def __init__(self, settings: DiscordSettings) -> None:
        self._direct = settings.direct_messages
        self._allow = settings.allow
        self._block = settings.block

    @property
    def needs_roles(self) -> bool:
        """Whether roles decide anything."""
        return bool(self._allow.roles or self._block.roles)

    def admits(self, key: ChannelKey, user_id: int, roles: Iterable[int] | None) -> bool:
        """Return whether the bot listens to this person here.

        What is blocked is blocked. Where a list allows something, nothing else of its sort is;
        the lists of roles and users together say who. Servers and channels do not matter in
        direct messages. `roles` is None where a person has none to speak of.
        """
        if not key.guild and not self._direct:
            return False
        who = (str(user_id), {str(role) for role in roles or ()})
        if self._matches_where(self._block, key) or self._matches_who(self._block, *who):
            return False
        allow = self._allow
        if (allow.users or allow.roles) and not self._matches_who(allow, *who):
            return False
        if not key.guild:
            return True
        if allow.servers and key.guild not in allow.servers:
            return False
        return not allow.channels or self._in_channels(allow, key)

    @staticmethod
    def _in_channels(places: Places, key: ChannelKey) -> bool:
        return key.channel in places.channels or key.thread in places.channels

    def _matches_where(self, places: Places, key: ChannelKey) -> bool:
        return key.guild in places.servers or self._in_channels(places, key)

    @staticmethod
    def _matches_who(places: Places, user: str, roles: set[str]) -> bool:
        return user in places.users or not roles.isdisjoint(places.roles)
