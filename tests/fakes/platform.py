"""A platform that outlives the daemon: it delivers until it is acknowledged, and remembers."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(slots=True)
class Shown:
    """A message of the bot's, as people see it."""

    channel: str
    text: str
    reply_to: str
    nonce: str
    final: bool

    @property
    def is_notice(self) -> bool:
        return self.nonce.startswith("n")


class FakePlatform:
    """The server's side. With `keyed`, a nonce that was seen shows nothing new."""

    def __init__(self, *, keyed: bool, delay_s: float = 0.0, seed: int = 0) -> None:
        self.keyed = keyed
        self.port = 0
        self.shown: dict[str, Shown] = {}
        self.acknowledged: set[str] = set()
        self.acknowledged_in_order: list[str] = []
        self.draw: random.Random | None = None  # which of several connections hears a message
        self.refused: dict[str, str] = {}
        self.failures: list[str] = []  # why messages were not taken
        self.connected = asyncio.Event()
        self.changed = asyncio.Condition()
        self._waiting: dict[str, dict[str, Any]] = {}  # said and not acknowledged
        self._nonces: dict[tuple[str, str], str] = {}
        self._ids = itertools.count(1)
        self._writers: list[asyncio.StreamWriter] = []
        self._delay_s = delay_s
        self._random = random.Random(seed)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakePlatform]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    def say(self, text: str, *, channel: str, author: str) -> str:
        """Let a person write; it is delivered now, and at each new connection until it is taken."""
        id_ = f"p{next(self._ids)}"
        self._waiting[id_] = {
            "id": id_,
            "channel": channel,
            "author": author,
            "text": text,
            "at": datetime.now(UTC).isoformat(),
        }
        self._write(self._waiting[id_])
        return id_

    @property
    def unacknowledged(self) -> int:
        return len(self._waiting)

    def answers(self) -> Counter[str]:
        """Return how often each question was answered; notices are no answers."""
        return Counter(each.reply_to for each in self.shown.values() if not each.is_notice)

    async def until(self, condition: Any, timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(condition)

    def drop_connections(self) -> None:
        """Cut every connection off, without a farewell."""
        for writer in self._writers:
            writer.transport.abort()

    def _write(self, value: dict[str, Any]) -> None:
        """Write to every connection, or to one or all of them by chance."""
        writers = [writer for writer in self._writers if not writer.is_closing()]
        if self.draw is not None and writers and self.draw.random() < 0.8:
            writers = [self.draw.choice(writers)]
        for writer in writers:
            writer.write(_line(value))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        for message in list(self._waiting.values()):
            writer.write(_line(message))
        self.connected.set()
        tasks: set[asyncio.Task[None]] = set()
        try:
            while line := await reader.readline():
                task = asyncio.create_task(self._handle(writer, json.loads(line)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except ConnectionError:
            pass  # the daemon was killed
        finally:
            await asyncio.gather(*tasks, return_exceptions=True)
            self._writers.remove(writer)
            if not self._writers:
                self.connected.clear()
            else:  # the others hear what this one did not acknowledge
                for message in list(self._waiting.values()):
                    self._write(message)
            writer.close()

    async def _handle(self, writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
        async with self.changed:
            if "ack" in said:
                if self._waiting.pop(said["ack"], None) is not None:
                    self.acknowledged.add(said["ack"])
                    self.acknowledged_in_order.append(said["ack"])
                if "refused" in said:
                    self.refused[said["ack"]] = said["refused"]
            elif "failed" in said:
                self.failures.append(said["why"])
                if (message := self._waiting.get(said["failed"])) is not None:
                    asyncio.get_running_loop().call_later(0.5, self._write, message)
            self.changed.notify_all()
        if "call" in said:
            await self._pause()
            reply = self._carry_out(said)
            await self._pause()
            if not writer.is_closing():
                writer.write(_line({"reply": said["call"], **reply}))
            async with self.changed:
                self.changed.notify_all()

    async def _pause(self) -> None:
        if self._delay_s:
            await asyncio.sleep(self._random.random() * self._delay_s)

    def _carry_out(self, call: dict[str, Any]) -> dict[str, Any]:
        if call["kind"] == "send":
            place = (call["channel"], call["nonce"])
            if self.keyed and place in self._nonces:
                return {"id": self._nonces[place]}
            id_ = f"b{next(self._ids)}"
            self.shown[id_] = Shown(
                call["channel"], call["text"], call["reply_to"], call["nonce"], call["final"]
            )
            self._nonces[place] = id_
            return {"id": id_}
        if call["kind"] == "delete":
            self.shown.pop(call["id"], None)
            return {}
        if call["id"] not in self.shown:
            return {"gone": True}
        self.shown[call["id"]].text = call["text"]
        self.shown[call["id"]].final = call["final"]
        return {}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
