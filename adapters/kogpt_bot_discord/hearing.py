"""What Discord tells goes to the core: messages, edits, deletions, and what was missed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import discord
import structlog
from discord.http import Route
from discord.utils import snowflake_time, time_snowflake, utcnow

from kogpt_bot import (
    ChannelKey,
    Forbidden,
    Gone,
    Inbox,
    Incoming,
    KogptBotError,
    Outgoing,
    Refused,
    StoreError,
    Unreachable,
)
from kogpt_bot_discord.client import DiscordClient
from kogpt_bot_discord.intake import Intake
from kogpt_bot_discord.patience import patiently
from kogpt_bot_discord.places import NAME, Addresses, Gate, place
from kogpt_bot_discord.reading import incoming

log = structlog.get_logger(__name__)

MISSED_MESSAGES = 100  # of one channel; Discord's own limit for a call
MISSED_FOR = timedelta(minutes=10)  # what is older is no longer a conversation
HEARD_WITHIN = timedelta(days=1)  # channels that are looked at after a restart
MAX_FETCHED = 10_000  # messages whose second telling is recognised here; the store knows all
MAX_CHANNELS = 1000  # whose last message is remembered: those heard most recently
BACKFILLS_AT_ONCE = 4
ATTEMPTS = 5  # of storing a message
STORE_RETRY_S = 0.25

Say = Callable[[ChannelKey, Outgoing], Awaitable[str]]


class Hearing:
    """The ear of one run. Its methods return at once; what they take in is handed over in order."""

    def __init__(self, client: DiscordClient, inbox: Inbox, gate: Gate, say: Say) -> None:
        self._client = client
        self._inbox = inbox
        self._gate = gate
        self._say = say
        self._addresses = Addresses(self._channel)
        self._intake = Intake(lambda id_: lambda: self._catch_up(id_))
        self._heard: OrderedDict[int, tuple[ChannelKey, int]] = OrderedDict()  # last message
        self._fetched: OrderedDict[int, None] = OrderedDict()
        self._fetching = asyncio.Semaphore(BACKFILLS_AT_ONCE)

    async def remember(self) -> None:
        """Learn from the store which channels were being listened to, before connecting."""
        try:
            newest = await self._inbox.newest(NAME, utcnow() - HEARD_WITHIN)
        except StoreError as error:
            log.warning("discord_backfill_skipped", why=str(error))
            return
        for key, id_ in newest.items():
            if id_.isdecimal() and place(key).isdecimal():
                self._note(key, int(id_))

    async def close(self) -> None:
        """End the intake."""
        await self._intake.close()

    def connected(self, shard_id: int) -> None:
        """Fetch what was missed in the channels of a shard whose session is new."""
        count = self._client.shard_count or 1
        for channel_id, (key, _) in list(self._heard.items()):
            if (int(key.guild or 0) >> 22) % count == shard_id:
                self._intake.put(channel_id, lambda id_=channel_id: self._catch_up(id_))  # type: ignore[misc]

    def message(self, message: discord.Message) -> None:
        """Hand a message over."""
        if message.author.id != self.me.id:
            self._intake.put(message.channel.id, lambda: self._hear_live(message))

    def edited(self, event: discord.RawMessageUpdateEvent) -> None:
        """Hand the new text over; an embed that was added later is no edit."""
        message = event.message
        if message.edited_at is not None and message.author.id != self.me.id:
            self._intake.put(event.channel_id, lambda: self._amend(message))

    def deleted(self, channel_id: int, guild_id: int | None, ids: list[int]) -> None:
        """Say which messages are gone."""
        self._intake.put(channel_id, lambda: self._withdraw(channel_id, guild_id, ids))

    @property
    def me(self) -> discord.ClientUser:
        """The bot itself."""
        user = self._client.user
        if user is None:
            raise Unreachable("not connected yet")
        return user

    async def address(self, channel_id: int, guild_id: int | None, channel: object) -> ChannelKey:
        """Return the address of a channel."""
        return await self._addresses.of(channel_id, guild_id, channel)

    async def _hear_live(self, message: discord.Message) -> None:
        if message.id in self._fetched:
            return  # it was fetched before Discord told it
        channel = message.channel
        key = await self._addresses.of(channel.id, guild_id_of(message), channel)
        await self._hear(message, key, roles(message.author))

    async def _hear(self, message: discord.Message, key: ChannelKey, own: list[int] | None) -> None:
        """Hand a message over, where its author (with their `own` roles) is listened to."""
        said = incoming(message, key, self.me)
        if said is None or not self._gate.admits(key, message.author.id, own):
            return
        if await self._hand_over(said):
            self._note(key, message.id)

    async def _hand_over(self, said: Incoming) -> bool:
        """Give a message to the core, again where its store fails; returns whether it has it."""
        for attempt in range(ATTEMPTS):
            try:
                await self._inbox.accept(said)
                return True
            except Refused as refusal:
                await self._tell(said, refusal.text)
                return True
            except StoreError as error:
                log.warning("discord_message_not_stored", attempt=attempt + 1, why=str(error))
                await asyncio.sleep(STORE_RETRY_S * 4**attempt)
        log.error("discord_message_lost")
        return False

    async def _tell(self, said: Incoming, text: str) -> None:
        """Answer a message with words of the core's; it says no more where that fails."""
        try:
            await self._say(said.key, Outgoing(text, reply_to=said.message_id))
        except KogptBotError as error:
            log.info("discord_refusal_not_told", why=str(error))

    async def _amend(self, message: discord.Message) -> None:
        channel = message.channel
        key = await self._addresses.of(channel.id, guild_id_of(message), channel)
        said = incoming(message, key, self.me)
        if said is None:
            await self._inbox.withdraw(key, str(message.id))
        elif self._gate.admits(key, message.author.id, roles(message.author)):
            await self._inbox.amend(said)

    async def _withdraw(self, channel_id: int, guild_id: int | None, ids: list[int]) -> None:
        known = self._client.get_channel(channel_id)
        key = await self._addresses.of(channel_id, guild_id, known)
        for id_ in ids:
            await self._inbox.withdraw(key, str(id_))

    def _note(self, key: ChannelKey, message_id: int) -> None:
        channel_id = int(place(key))
        _, before = self._heard.pop(channel_id, (key, 0))
        self._heard[channel_id] = (key, max(before, message_id))
        if len(self._heard) > MAX_CHANNELS:
            self._heard.popitem(last=False)

    async def _catch_up(self, channel_id: int) -> None:
        """Hand over what was said in a channel since its last message that was heard."""
        if channel_id not in self._heard:
            return
        key, last = self._heard[channel_id]
        after = max(last, time_snowflake(utcnow() - MISSED_FOR))
        found = await self._fetch(channel_id, after)
        if found:
            log.info("discord_backfill", messages=len(found))
        for message in sorted(found, key=lambda each: each.id):
            if message.author.id != self.me.id and snowflake_time(message.id) <= utcnow():
                self._fetched[message.id] = None
                if (own := await self._roles(key, message.author.id)) is not None:
                    await self._hear(message, key, own)
        while len(self._fetched) > MAX_FETCHED:
            self._fetched.popitem(last=False)

    async def _fetch(self, channel_id: int, after: int) -> list[discord.Message]:
        route = Route("GET", "/channels/{channel_id}/messages", channel_id=channel_id)
        params = {"after": str(after), "limit": MISSED_MESSAGES}
        try:
            async with self._fetching:
                found = await patiently(self._client.rest, route, params=params)
        except KogptBotError as error:
            log.info("discord_backfill_failed", why=str(error))
            return []
        state = self._client.state
        key, _ = self._heard[channel_id]
        guild_id = int(key.guild) if key.guild else None
        channel = self._client.get_channel(channel_id) or self._client.get_partial_messageable(
            channel_id, guild_id=guild_id
        )
        return [discord.Message(state=state, channel=channel, data=each) for each in found]  # type: ignore[arg-type]

    async def _roles(self, key: ChannelKey, user_id: int) -> list[int] | None:
        """Ask for somebody's roles, where they decide; None where they cannot be had.

        A message that is fetched comes without them.
        """
        if not (key.guild and self._gate.needs_roles):
            return []
        path = "/guilds/{guild_id}/members/{user_id}"
        route = Route("GET", path, guild_id=int(key.guild), user_id=user_id)
        try:
            member = await patiently(self._client.rest, route)
        except KogptBotError as error:
            log.info("discord_roles_unknown", why=str(error))
            return None
        return [int(id_) for id_ in member["roles"]]

    async def _channel(self, channel_id: int) -> dict[str, Any] | None:
        """Ask Discord about a channel that discord.py does not know."""
        route = Route("GET", "/channels/{channel_id}", channel_id=channel_id)
        try:
            found: dict[str, Any] = await patiently(self._client.rest, route)
        except (Forbidden, Gone):
            return {}  # nor will it be known later
        except KogptBotError as error:
            log.info("discord_channel_unknown", why=str(error))
            return None
        return found


def guild_id_of(message: discord.Message) -> int | None:
    """Return the id of the server, also of one that discord.py does not know (yet)."""
    if message.guild is not None:
        return message.guild.id
    known: int | None = getattr(message.channel, "guild_id", None)
    return known


def roles(author: object) -> list[int] | None:
    """Return a member's roles; None for somebody who is no member here."""
    return [role.id for role in author.roles] if isinstance(author, discord.Member) else None
