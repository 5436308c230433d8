"""The adapter port for the page: rooms are channels, an event stream shows them."""

from __future__ import annotations

import itertools
import socket
import time
import uuid
from collections.abc import Iterable

import uvicorn

from kogpt_bot import (
    Capabilities,
    ChannelKey,
    ConfigurationError,
    Gone,
    Inbox,
    Malformed,
    Outgoing,
    PastMessage,
)
from kogpt_bot.asgi import EmbeddedServer
from kogpt_bot_web.rooms import MAX_SHOWN, Message, Room, Rooms
from kogpt_bot_web.server import make_app
from kogpt_bot_web.settings import WebSettings

MAX_LENGTH = 4000  # a longer answer goes on in a new bubble, which reads better than one column
MAX_NONCES = 10_000


class WebAdapter:
    """Serves the page on one socket. `url` is known once it listens."""

    name = "web"
    capabilities = Capabilities(
        max_length=MAX_LENGTH,
        edits=True,
        min_edit_interval_s=0.05,  # twenty times a second looks continuous
        deletes=True,
        typing=True,
        buttons=True,
        idempotent_send=True,
    )

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._rooms = Rooms()
        self._inbox: Inbox | None = None
        self._server: EmbeddedServer | None = None
        self._stopping = False
        self._boot = uuid.uuid4().hex[:8]  # ids of two runs never meet
        self._ids = itertools.count(1)
        self._nonces: dict[tuple[str, str], str] = {}
        self.url = f"http://{settings.host}:{settings.port}"

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        """Return `capabilities`: all channels are alike."""
        return self.capabilities

    async def run(self, inbox: Inbox) -> None:
        """Serve the page until `stop`; ConfigurationError where the port cannot be had."""
        if self._stopping:
            return
        self._inbox = inbox
        listener = self._listen()
        config = uvicorn.Config(
            make_app(self, self._settings),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        self._server = EmbeddedServer(config)
        try:
            await self._server.serve([listener])
        finally:
            for server in getattr(self._server, "servers", ()):
                server.close()  # where it was cancelled before its own shutdown
            listener.close()
            self._rooms.end()
            self._inbox = None

    def _listen(self) -> socket.socket:
        host, port = self._settings.host, self._settings.port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=256)
        except OSError as error:
            raise ConfigurationError(
                f"adapters.web: cannot listen on {host} port {port}: {error.strerror or error}; "
                "end what uses the port, or set another adapters.web.port"
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{listener.getsockname()[1]}"
        return listener

    async def stop(self) -> None:
        """Let every page go and end the server."""
        self._stopping = True
        self._rooms.end()
        if self._server is not None:
            self._server.should_exit = True

    @property
    def inbox(self) -> Inbox:
        """The core; Gone while the adapter does not run."""
        if self._inbox is None:
            raise Gone("the page is not being served")
        return self._inbox

    @property
    def rooms(self) -> Rooms:
        """The rooms in memory."""
        return self._rooms

    def key(self, room: str) -> ChannelKey:
        """Return the channel key of a room."""
        return ChannelKey(self.name, room)

    async def open_room(self, name: str) -> Room:
        """Return a room, read from the history where it is not in memory."""
        if room := self._rooms.get(name):
            if room.quiet:
                await self.reread([room])
            return room
        return self._rooms.add(Room(name, await self._past(name)))

    async def reread(self, rooms: Iterable[Room]) -> None:
        """Show of rooms what the history still holds: something in them was erased."""
        for room in rooms:
            room.replace(await self._past(room.name))

    async def _past(self, name: str) -> list[Message]:
        past = await self.inbox.history(self.key(name), MAX_SHOWN)
        return [_message(message) for message in past]

    async def _room(self, key: ChannelKey) -> Room:
        """Return the room of a key; Gone for one in which nothing was ever said."""
        if room := self._rooms.get(key.channel):
            return room
        room = await self.open_room(key.channel)
        if not room.snapshot()["messages"]:
            raise Gone(f"no room {key.channel}")
        return room

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        """Show a message in the room; a repeated nonce shows once."""
        room = await self._room(key)
        nonce = (key.channel, message.nonce)
        if message.nonce and nonce in self._nonces:
            return self._nonces[nonce]
        id_ = f"{self._boot}-{next(self._ids)}"
        self._show(room, id_, message, time.time())
        if message.nonce:
            if len(self._nonces) >= MAX_NONCES:
                del self._nonces[next(iter(self._nonces))]
            self._nonces[nonce] = id_
        return id_

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        """Change a message."""
        room = await self._room(key)
        shown = room.get(message_id)
        if shown is None or not shown.bot:
            raise Gone(f"no message {message_id} of the bot's")
        self._show(room, message_id, message, shown.at)

    @staticmethod
    def _show(room: Room, id_: str, message: Outgoing, at: float) -> None:
        if not message.text or len(message.text) > MAX_LENGTH:
            raise Malformed(f"a message has 1 to {MAX_LENGTH} characters")
        offers = tuple(kind.value for kind in message.offers)
        room.put(Message(id_, message.speaker, message.text, at, True, message.final, offers))

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        """Remove a message."""
        (await self._room(key)).remove(message_id)

    async def typing(self, key: ChannelKey) -> None:
        """Show the dots."""
        (await self._room(key)).tell({"type": "typing"})


def _message(past: PastMessage) -> Message:
    return Message(
        past.message_id,
        past.author.name,
        past.text,
        past.sent_at.timestamp(),
        past.by_this_bot,
        offers=tuple(kind.value for kind in past.offers),
    )
