"""The adapter: JSON lines over a socket of the loopback."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import datetime
from typing import Any

from kogpt_bot import (
    Author,
    Capabilities,
    ChannelKey,
    Gone,
    Inbox,
    Incoming,
    Outgoing,
    Refused,
    StoreError,
    Unreachable,
)
from kogpt_bot.errors import NotSent

CALL_S = 20.0


class SocketAdapter:
    """One connection; what the platform says goes to the inbox and is acknowledged after it."""

    def __init__(self, name: str, port: int, *, keyed: bool) -> None:
        self.name = name
        self.capabilities = Capabilities(
            max_length=2000,
            edits=True,
            min_edit_interval_s=0.02,
            deletes=True,
            idempotent_send=keyed,
        )
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._stopped = asyncio.Event()
        self._taking: set[asyncio.Task[None]] = set()

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        return self.capabilities

    async def run(self, inbox: Inbox) -> None:
        try:
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as error:
            raise Unreachable(str(error)) from error
        listening = asyncio.create_task(self._listen(inbox, reader))
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([listening, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not self._stopped.is_set():
                raise Unreachable("the platform has closed the connection")
            await asyncio.gather(*self._taking)
        finally:
            for task in (listening, stopping):
                task.cancel()
            self._writer.close()
            self._writer = None
            for call in self._calls.values():
                if not call.done():
                    call.set_exception(Unreachable("the connection has ended"))

    async def stop(self) -> None:
        self._stopped.set()

    async def _listen(self, inbox: Inbox, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = json.loads(line)
            if "reply" in said:
                call = self._calls.pop(said["reply"], None)
                if call is not None and not call.done():
                    call.set_result(said)
            else:
                task = asyncio.create_task(self._take(inbox, said))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)

    async def _take(self, inbox: Inbox, said: dict[str, Any]) -> None:
        message = Incoming(
            ChannelKey(self.name, said["channel"]),
            said["id"],
            Author(said["author"], said["author"]),
            said["text"],
            datetime.fromisoformat(said["at"]),
            direct=True,
        )
        answer: dict[str, Any] = {"ack": said["id"]}
        try:
            await inbox.accept(message)
        except Refused as refusal:
            answer["refused"] = refusal.text
        except StoreError as error:  # not stored: not acknowledged, and delivered again
            answer = {"failed": said["id"], "why": str(error)}
        self._write(answer)

    def _write(self, value: dict[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise NotSent("there is no connection")
        self._writer.write(json.dumps(value).encode() + b"\n")

    async def _call(self, kind: str, key: ChannelKey, **fields: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            self._write({"call": number, "kind": kind, "channel": key.channel, **fields})
            async with asyncio.timeout(CALL_S):
                said = await answer
        except TimeoutError as error:
            raise Unreachable("the platform does not answer") from error
        finally:
            self._calls.pop(number, None)
        if said.get("gone"):
            raise Gone("there is no such message")
        return said

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        said = await self._call(
            "send",
            key,
            text=message.text,
            reply_to=message.reply_to,
            nonce=message.nonce,
            final=message.final,
        )
        return str(said["id"])

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        await self._call("edit", key, id=message_id, text=message.text, final=message.final)

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        await self._call("delete", key, id=message_id)

    async def typing(self, key: ChannelKey) -> None:
        pass
