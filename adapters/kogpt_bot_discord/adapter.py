"""The adapter port for Discord."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import structlog
from discord.http import Route

from kogpt_bot import (
    Capabilities,
    ChannelKey,
    Connection,
    Gone,
    Inbox,
    NotSent,
    Outgoing,
)
from kogpt_bot_discord import payloads
from kogpt_bot_discord.client import DiscordClient
from kogpt_bot_discord.errors import translated
from kogpt_bot_discord.hearing import Hearing
from kogpt_bot_discord.limits import RateLimits
from kogpt_bot_discord.loans import Loan, Loans
from kogpt_bot_discord.markup import MAX_LENGTH
from kogpt_bot_discord.places import NAME, Gate, place
from kogpt_bot_discord.replies import webhook
from kogpt_bot_discord.settings import DiscordSettings
from kogpt_bot_discord.shards import Pacing
from kogpt_bot_discord.wishes import Wishes

log = structlog.get_logger(__name__)

EDIT_INTERVAL_S = 1.2  # Discord takes five edits in five seconds in a channel, and other messages
MESSAGES = "/channels/{channel_id}/messages"
MESSAGE = "/channels/{channel_id}/messages/{message_id}"


CAPABILITIES = Capabilities(
    max_length=MAX_LENGTH,
    edits=True,
    min_edit_interval_s=EDIT_INTERVAL_S,
    deletes=True,
    typing=True,
    typing_lasts_s=10.0,
    buttons=True,
    threads=True,
    idempotent_send=True,
)
# Where a command's leave is all there is: no nonce, and "is thinking" in place of typing.
ON_LOAN = replace(CAPABILITIES, idempotent_send=False, typing=False, threads=False)


class DiscordAdapter:
    """Speaks for the bot on Discord. `pacing` is how lost connections are tried again."""

    name = NAME
    capabilities = CAPABILITIES

    def __init__(self, settings: DiscordSettings, pacing: Pacing | None = None) -> None:
        self._settings = settings
        self._pacing = pacing or Pacing()
        self._gate = Gate(settings)
        self._limits = RateLimits(DiscordClient.monotonic)  # they outlive a connection
        self._loans = Loans(DiscordClient.monotonic)
        self._client: DiscordClient | None = None
        self._reconnects = 0  # of clients that are gone
        self._stopped = asyncio.Event()

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        """Return what can be done in a channel: less where the bot only answers a command."""
        on_loan = self._loans.in_channel(place(key)) is not None
        return ON_LOAN if on_loan else self.capabilities

    def connection(self) -> Connection:
        """Return how the connection is, and how often it was made anew."""
        client = self._client
        if client is None:
            return Connection(False, "not connected yet", self._reconnects)
        away = client.shards_away
        words = f"{away} of {client.shards_wanted} shards not connected"
        return Connection(not away, words if away else "", self._reconnects + client.reconnects)

    async def run(self, inbox: Inbox) -> None:
        """Stay connected until `stop`.

        Raises BadCredentials and ConfigurationError where Discord will not have the bot as it
        is, and another AdapterError where it cannot be reached.
        """
        if self._stopped.is_set():
            return
        token = self._settings.token()
        with translated():
            async with DiscordClient(self._settings, self._limits, self._pacing) as client:
                await client.login(token.reveal())
                client.warn_of_intents()
                self._client = client
                client.listener = hearing = Hearing(client, inbox, self._gate, self.send)
                wishes = Wishes(client, inbox, hearing, self._gate, self._loans)
                client.on_wish = wishes.take
                await hearing.remember()
                try:
                    await self._until_stopped(client)
                finally:
                    self._reconnects += client.retire()
                    await wishes.close()
                    await hearing.close()

    async def _until_stopped(self, client: DiscordClient) -> None:
        connection = asyncio.create_task(client.connect(), name="discord connection")
        commands = asyncio.create_task(client.register_commands(), name="discord commands")
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([connection, stopped], return_when=asyncio.FIRST_COMPLETED)
            if connection.done():
                connection.result()
        finally:
            for task in (connection, commands, stopped):
                task.cancel()
            await asyncio.gather(connection, commands, stopped, return_exceptions=True)

    async def stop(self) -> None:
        """Close the connections; answers that are being written can still be finished."""
        self._stopped.set()

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        """Say something in a channel; the same nonce shows once."""
        if loan := self._loans.in_channel(place(key)):
            return await self._send_on_loan(loan, message)
        body = payloads.new(message, self._settings.language)
        sent = await self._call("POST", MESSAGES, key, json=body)
        return str(sent["id"])

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        """Replace a message of the bot's own."""
        body = payloads.content(message, self._settings.language)
        if loan := self._loans.of_message(message_id):
            await self._on_loan(loan, "PATCH", f"/messages/{_known(message_id)}", json=body)
            return
        await self._call("PATCH", MESSAGE, key, _known(message_id), json=body)

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        """Remove a message; one that is gone is fine."""
        try:
            if loan := self._loans.of_message(message_id):
                await self._on_loan(loan, "DELETE", f"/messages/{_known(message_id)}")
            else:
                await self._call("DELETE", MESSAGE, key, _known(message_id))
        except Gone:
            log.debug("discord_delete_gone")

    async def typing(self, key: ChannelKey) -> None:
        """Show for ten seconds that the bot is writing."""
        if self._loans.in_channel(place(key)) is None:
            await self._call("POST", "/channels/{channel_id}/typing", key)

    async def _send_on_loan(self, loan: Loan, message: Outgoing) -> str:
        """Say something where only a command's leave lets the bot speak."""
        body = payloads.content(message, self._settings.language)
        if loan.deferred:  # it takes the place of "is thinking"
            sent = await self._on_loan(loan, "PATCH", "/messages/@original", json=body)
            loan.deferred = False
        else:
            sent = await self._on_loan(loan, "POST", "", json=body)
        self._loans.sent(str(sent["id"]), loan)
        return str(sent["id"])

    async def _on_loan(self, loan: Loan, method: str, path: str, **options: Any) -> Any:
        client = self._connected
        route = webhook(method, path, client.application_id or 0, loan.token)
        with translated():
            return await client.rest.request(route, **options)

    @property
    def _connected(self) -> DiscordClient:
        if self._client is None:
            raise NotSent("not connected to Discord yet")
        return self._client

    async def _call(
        self, method: str, path: str, key: ChannelKey, message_id: str = "", **options: Any
    ) -> Any:
        if not place(key).isdecimal():
            raise Gone(f"no channel {place(key)}")
        route = Route(method, path, channel_id=int(place(key)), message_id=message_id)
        with translated():
            return await self._connected.rest.request(route, **options)


def _known(message_id: str) -> str:
    if not message_id.isdecimal():
        raise Gone(f"no message {message_id}")
    return message_id
