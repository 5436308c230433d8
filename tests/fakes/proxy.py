"""A TCP proxy that does to connections what networks do: it delays, cuts and resets them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 65536


@dataclass(frozen=True)
class Weather:
    """How likely each misfortune is, for each piece of data that comes from the server.

    `cut`: half of the piece arrives, then the connection ends. `reset`: it is torn down at once.
    `slow_close`: nothing more arrives, and it ends a moment later. `lost_request`: a piece of the
    client's is cut in half. `latency_s`: each piece waits up to so long.
    """

    latency_s: float = 0.0
    cut: float = 0.0
    reset: float = 0.0
    slow_close: float = 0.0
    lost_request: float = 0.0
    linger_s: float = 0.2


class Storm(Exception):
    """A misfortune ended the connection."""


class Proxy:
    """Stands before a server of this machine; `port` is its own, `weather` may change at any time."""

    def __init__(self, target_port: int, weather: Weather | None = None, *, seed: int = 1) -> None:
        self._target = target_port
        self.weather = weather or Weather()
        self.happened: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        for each in list(self._connections):
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.happened["connections"] += 1
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, upstream, "request"))
                pumps.create_task(self._pump(answers, writer, "answer"))
        except* (Storm, OSError):
            pass
        finally:
            self._connections.discard(task)
            for each in (writer, upstream):
                if each is not None:
                    each.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        while data := await reader.read(CHUNK):
            if self.weather.latency_s:
                await asyncio.sleep(self._random.uniform(0, self.weather.latency_s))
            await self._pass(data, writer, way)
        raise Storm("the end")  # one side has gone, the other one follows

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, way: str) -> None:
        kind = self._misfortune(way)
        if kind in ("cut", "lost_request"):
            writer.write(data[: len(data) // 2])
            with suppress(ConnectionError):
                await writer.drain()
        if kind == "slow_close":
            await asyncio.sleep(self.weather.linger_s)
        if kind:
            self.happened[kind] += 1
            raise Storm(kind)
        writer.write(data)
        await writer.drain()

    def _misfortune(self, way: str) -> str:
        """Draw what happens to a piece of data; "" for nothing."""
        weather, draw = self.weather, self._random.random()
        kinds = ("lost_request",) if way == "request" else ("cut", "reset", "slow_close")
        for kind in kinds:
            chance = getattr(weather, kind)
            if draw < chance:
                return kind
            draw -= chance
        return ""
