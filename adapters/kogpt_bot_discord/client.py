"""discord.py's client with our connections: it hears Discord and tells a listener."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, Protocol

import discord
import structlog
from discord.http import Route

from kogpt_bot import KogptBotError
from kogpt_bot_discord import commands
from kogpt_bot_discord.errors import INTENT_REMEDY
from kogpt_bot_discord.limits import RateLimits
from kogpt_bot_discord.patience import patiently
from kogpt_bot_discord.rest import Endpoints, OneAttemptHTTP
from kogpt_bot_discord.settings import DiscordSettings
from kogpt_bot_discord.shards import IdentifyGate, Pacing, Shard

log = structlog.get_logger(__name__)

LONGEST_START_WAIT_S = 24 * 3600.0  # Discord's limit for starting sessions is per day


class Listener(Protocol):
    """Whom the client tells; the calls return at once."""

    def connected(self, shard_id: int) -> None:
        """A new session began: what was said before it was not heard."""

    def message(self, message: discord.Message) -> None:
        """Somebody wrote."""

    def edited(self, event: discord.RawMessageUpdateEvent) -> None:
        """Somebody edited a message."""

    def deleted(self, channel_id: int, guild_id: int | None, ids: list[int]) -> None:
        """Messages were deleted."""


def intents(settings: DiscordSettings) -> discord.Intents:
    """Return what to hear: no more than is needed."""
    return discord.Intents(
        guilds=True,
        guild_messages=True,
        dm_messages=True,
        message_content=settings.message_content,
    )


class DiscordClient(discord.AutoShardedClient):
    """Hears Discord. `rest` makes the calls; `connect` returns only by an error or cancelling.

    discord.py's own connections back off for up to 17 minutes, start again without a pause in
    some cases, and stop counting in none; ours are in `shards`.
    """

    http: OneAttemptHTTP

    def __init__(self, settings: DiscordSettings, limits: RateLimits, pacing: Pacing) -> None:
        self.listener: Listener | None = None  # both set before connecting
        self.on_wish: Callable[[discord.Interaction], None] | None = None
        self.pacing = pacing
        self.reconnects = 0
        self.shards_wanted = 1
        self._shards_up: set[int] = set()
        self.settings = settings
        self._endpoints = Endpoints(settings.api_url, settings.gateway_url)
        self._limits = limits
        self._gate = IdentifyGate(pacing, self.monotonic)
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # no voice: no word
        logging.getLogger("discord.gateway").setLevel(logging.INFO)  # below, it logs what is said
        super().__init__(
            intents=intents(settings),
            shard_count=settings.shard_count,
            shard_ids=list(settings.shard_ids) or None,  # type: ignore[arg-type]
            max_messages=None,  # the store remembers them
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            allowed_mentions=discord.AllowedMentions.none(),
        )

    def _get_state(self, **options: Any) -> Any:
        self.http = OneAttemptHTTP(self.loop, self._endpoints, self._limits)
        return super()._get_state(**options)

    @property
    def rest(self) -> OneAttemptHTTP:
        """The calls."""
        return self.http

    @property
    def state(self) -> Any:
        """What discord.py's objects are made with."""
        return self._connection

    @property
    def gate_wait_s(self) -> float:
        """How long a shard may have to wait until it may identify."""
        return self.pacing.identify_s * ((self.shard_count or 1) + 1)

    @staticmethod
    def monotonic() -> float:
        """Return the time of the event loop."""
        return asyncio.get_running_loop().time()

    async def register_commands(self) -> None:
        """Let Discord show the commands; without them the bot still talks."""
        if not self.settings.commands or self.application_id is None:
            return
        path = "/applications/{application_id}/commands"
        route = Route("PUT", path, application_id=self.application_id)
        try:
            await patiently(self.rest, route, json=commands.registration())
        except KogptBotError as error:
            log.warning("discord_commands_not_registered", why=str(error))

    @property
    def shards_away(self) -> int:
        """How many shards are not connected."""
        return self.shards_wanted - len(self._shards_up)

    def shard_lost(self, shard_id: int) -> bool:
        """Note that a shard's connection ended; returns whether it had come to work."""
        was_up = shard_id in self._shards_up
        self._shards_up.discard(shard_id)
        self.reconnects += 1
        return was_up

    def retire(self) -> int:
        """Note that all shards are gone for good; returns how often they were lost before."""
        self._shards_up.clear()
        reconnects, self.reconnects = self.reconnects, 0
        return reconnects

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Wait for the shard's turn."""
        await self._gate.wait(shard_id or 0)

    async def connect(self, *, reconnect: bool = True) -> None:
        """Keep every shard connected until one cannot go on; raises why."""
        found = await self.rest.find_gateway()
        limit = found.get("session_start_limit") or {}
        self._gate.concurrency = max(1, int(limit.get("max_concurrency") or 1))
        self.shard_count = self.settings.shard_count or int(found.get("shards") or 1)
        ids = self.shard_ids or range(self.shard_count)
        self._connection.shard_count = self.shard_count
        self._connection.shard_ids = ids
        self.shards_wanted = len(ids)
        await self._wait_for_starts(limit, len(ids))
        log.info("discord_connects", shards=len(ids), shard_count=self.shard_count)
        try:
            async with asyncio.TaskGroup() as group:
                for id_ in ids:
                    shard = Shard(self, id_, random.SystemRandom().random)
                    group.create_task(shard.run(), name=f"discord shard {id_}")
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    @staticmethod
    async def _wait_for_starts(limit: dict[str, Any], count: int) -> None:
        """Wait where Discord would refuse so many sessions: it resets the token of who insists."""
        if int(limit.get("remaining", count)) >= count:
            return
        wait = min(float(limit.get("reset_after", 0)) / 1000, LONGEST_START_WAIT_S)
        log.warning("discord_sessions_used_up", in_s=round(wait))
        await asyncio.sleep(wait)

    def warn_of_intents(self) -> None:
        """Say it early where the message content intent is off; Discord closes with 4014."""
        flags = self.application_flags
        on = flags.gateway_message_content or flags.gateway_message_content_limited
        if self.settings.message_content and not on:
            log.warning("discord_intent_seems_off", remedy=INTENT_REMEDY)

    @property
    def _told(self) -> Listener:
        if self.listener is None:
            raise RuntimeError("nobody listens")
        return self.listener

    async def on_shard_connect(self, shard_id: int) -> None:
        """Pass it on."""
        self._shards_up.add(shard_id)
        self._told.connected(shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        """Note that a shard is back; Discord told what was missed."""
        self._shards_up.add(shard_id)

    async def on_message(self, message: discord.Message) -> None:
        """Pass it on."""
        self._told.message(message)

    async def on_raw_message_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        """Pass it on."""
        self._told.edited(event)

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """Pass it on."""
        self._told.deleted(event.channel_id, event.guild_id, [event.message_id])

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Pass it on."""
        self._told.deleted(event.channel_id, event.guild_id, sorted(event.message_ids))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Pass it on: a command, a button, a menu or a modal."""
        if self.on_wish is not None:
            self.on_wish(interaction)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log a fault of ours, without what was said."""
        log.exception("discord_event_failed", event=event_method)
