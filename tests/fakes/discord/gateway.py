"""The fake's gateway: HELLO, heartbeats, IDENTIFY, READY, RESUME with what was missed."""

from __future__ import annotations

import asyncio
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.discord.world import JSON, World

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11
SYNC_FLUSH_END = b"\x00\x00\xff\xff"


class Connection:
    """One WebSocket, compressed as Discord does it where it was asked for."""

    def __init__(self, socket: web.WebSocketResponse, *, compressed: bool) -> None:
        self.socket = socket
        self._deflate = zlib.compressobj() if compressed else None
        self._order = asyncio.Lock()

    async def tell(self, op: int, data: Any = None, *, s: int | None = None, t: str | None = None):
        text = json.dumps({"op": op, "d": data, "s": s, "t": t})
        async with self._order:
            if self.socket.closed:
                return
            try:
                if self._deflate is None:
                    await self.socket.send_str(text)
                    return
                body = self._deflate.compress(text.encode()) + self._deflate.flush(
                    zlib.Z_SYNC_FLUSH
                )
                assert body.endswith(SYNC_FLUSH_END)
                await self.socket.send_bytes(body)
            except ConnectionError:
                pass  # it is gone; what was told is in the session


@dataclass
class Session:
    """What survives a lost connection; `connection` is None meanwhile."""

    id: str
    shard: tuple[int, int]
    intents: int
    sequence: int = 0
    sent: list[tuple[int, str, JSON]] = field(default_factory=list)
    connection: Connection | None = None


class Gateway:
    """Tells events to every session of their shard."""

    def __init__(self, world: World, token: str) -> None:
        self.url = ""  # set when the server listens
        self._world = world
        self._token = token
        self.sessions: dict[str, Session] = {}
        self.identifies: list[JSON] = []
        self.resumes: list[JSON] = []
        self.heartbeats = 0
        self.heartbeat_ms = 41_250
        self.refuse_identify: list[int] = []  # close codes for the next IDENTIFYs
        self.refuse_resume = False  # answer RESUME with op 9, not to be resumed
        self.hello_late: asyncio.Event | None = None  # HELLO waits for it
        self.acks = True
        self.changed = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = Connection(socket, compressed=request.query.get("compress") == "zlib-stream")
        if self.hello_late is not None:
            await self.hello_late.wait()
        await connection.tell(HELLO, {"heartbeat_interval": self.heartbeat_ms})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._hear(connection, json.loads(message.data))
        finally:
            for session in self.sessions.values():
                if session.connection is connection:
                    session.connection = None
            await self._tell_tests()
        return socket

    async def _tell_tests(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _hear(self, connection: Connection, message: JSON) -> None:
        op, data = message["op"], message["d"]
        if op == HEARTBEAT:
            self.heartbeats += 1
            if self.acks:
                await connection.tell(ACK)
        elif op == IDENTIFY:
            await self._identify(connection, data)
        elif op == RESUME:
            await self._resume(connection, data)
        await self._tell_tests()

    async def _identify(self, connection: Connection, data: JSON) -> None:
        self.identifies.append(data)
        if self.refuse_identify:
            await connection.socket.close(code=self.refuse_identify.pop(0))
            return
        if data["token"] != self._token:
            await connection.socket.close(code=4004)
            return
        shard = tuple(data.get("shard", (0, 1)))
        session = Session(f"session{len(self.sessions)}", shard, data["intents"])
        session.connection = connection
        self.sessions[session.id] = session
        guilds = [
            g for g in self._world.guilds.values() if self._shard(g["id"], shard[1]) == shard[0]
        ]
        await self._tell(session, "READY", {
            "v": 10, "user": self._world.bot, "session_id": session.id, "shard": list(shard),
            "resume_gateway_url": self.url,
            "guilds": [{"id": guild["id"], "unavailable": True} for guild in guilds],
            "application": {"id": self._world.application_id, "flags": self._world.application_flags},
        })  # fmt: skip
        for guild in guilds:
            await self._tell(session, "GUILD_CREATE", guild)

    async def _resume(self, connection: Connection, data: JSON) -> None:
        self.resumes.append(data)
        session = self.sessions.get(data["session_id"])
        if session is None or self.refuse_resume or data["token"] != self._token:
            await connection.tell(INVALID, False)
            return
        missed = [each for each in session.sent if each[0] > data["seq"]]
        session.connection = connection
        for sequence, name, event in missed:
            await connection.tell(DISPATCH, event, s=sequence, t=name)
        await self._tell(session, "RESUMED", {})

    @staticmethod
    def _shard(guild_id: str, count: int) -> int:
        return (int(guild_id) >> 22) % count

    async def tell(self, name: str, event: JSON, *, guild_id: str | None = None) -> None:
        """Tell an event to the sessions of its shard, connected or not."""
        for session in self.sessions.values():
            id_, count = session.shard
            if (self._shard(guild_id, count) if guild_id else 0) == id_:
                await self._tell(session, name, event)

    async def _tell(self, session: Session, name: str, event: JSON) -> None:
        session.sequence += 1
        session.sent.append((session.sequence, name, event))
        if session.connection is not None:
            await session.connection.tell(DISPATCH, event, s=session.sequence, t=name)

    @property
    def connections(self) -> list[Connection]:
        return [s.connection for s in self.sessions.values() if s.connection is not None]

    async def close(self, code: int) -> None:
        """Close every connection with a code."""
        for connection in self.connections:
            await connection.socket.close(code=code)

    async def cut(self) -> None:
        """Break every connection without a word."""
        for connection in self.connections:
            transport = connection.socket._req.transport
            if transport is not None:
                transport.abort()

    async def ask_to_reconnect(self) -> None:
        for connection in self.connections:
            await connection.tell(RECONNECT)

    async def invalidate(self, *, resumable: bool) -> None:
        for session in list(self.sessions.values()):
            if session.connection is not None:
                await session.connection.tell(INVALID, resumable)
                if not resumable:
                    del self.sessions[session.id]

    async def wait_until(self, condition, timeout_s: float = 15.0) -> None:
        """Return once `condition()` holds; TimeoutError where it does not come to that."""
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(condition)
