"""Showing an answer while it is written: typing, a first message, edits at the platform's pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.clock import Clock
from kogpt_bot.delivery.split import length, split_once
from kogpt_bot.errors import AdapterError, RetryAfter, Unreachable
from kogpt_bot.messages import ChannelKey, Outgoing

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 5  # of one send or edit; with the backoff below, about 15 s of an outage
BACKOFF_FIRST_S = 1.0
LONGEST_FLOOD_WAIT_S = 60.0  # an answer that comes later than this is no answer any more


class SendUnknown(AdapterError):
    """A send was interrupted and the platform has no key to tell whether it was shown."""


@dataclass(slots=True)
class Part:
    """One platform message of the answer, as it is shown now."""

    message_id: str
    text: str
    final: bool


class AnswerStream:
    """One answer in one channel.

    `parts` says what is shown, also after `show` has raised. The text only grows; a message that
    is full is closed and the next one begun.
    """

    def __init__(
        self,
        adapter: Adapter,
        key: ChannelKey,
        clock: Clock,
        *,
        reply_to: str,
        nonce: str,
        speaker: str = "",
        before_first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.parts: list[Part] = []
        self._adapter = adapter
        self._key = key
        self._clock = clock
        self._reply_to = reply_to
        self._nonce = nonce
        self._speaker = speaker
        self._before_first = before_first  # awaited once, before anything is sent
        self._rest = ""  # text of the message that is being written
        self._closed_parts = 0  # how many of the parts are full
        self._changed = asyncio.Event()
        self._not_before = 0.0  # monotonic time of the next edit

    async def show(self, deltas: AsyncIterator[str], *, stream: bool) -> None:
        """Show the text that `deltas` yields until it ends; the last edit has all of it.

        An error of `deltas` is raised after the text so far was shown. Raises the
        `AdapterError` that stopped the showing, `SendUnknown` among them.
        """
        reader = asyncio.create_task(self._read(deltas), name=f"read {self._key}")
        live = stream and self._adapter.capabilities_in(self._key).edits
        try:
            while not reader.done():
                await self._wait(reader, typing=not self.parts)
                if live and not reader.done() and self._rest.strip():
                    await self._write(final=False)
            await self._write(final=True)
        finally:
            reader.cancel()
            await asyncio.wait([reader])
        reader.result()

    async def _read(self, deltas: AsyncIterator[str]) -> None:
        async for delta in deltas:
            self._rest += delta
            self._changed.set()

    async def _wait(self, reader: asyncio.Task[None], *, typing: bool) -> None:
        """Return when there is text to show and the pace allows it, or when the reader is done."""
        if self._clock.monotonic() < self._not_before:
            await self._first_of(reader, self._pace())
            return
        capabilities = self._adapter.capabilities_in(self._key)
        if typing and capabilities.typing:
            await self._typing()
            refresh = self._clock.sleep(capabilities.typing_lasts_s * 0.8)
            await self._first_of(reader, self._changed.wait(), refresh)
        else:
            await self._first_of(reader, self._changed.wait())
        self._changed.clear()

    @staticmethod
    async def _first_of(reader: asyncio.Task[None], *waits: Coroutine[None, None, object]) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait([reader, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _pace(self) -> None:
        pause = self._not_before - self._clock.monotonic()
        if pause > 0:
            await self._clock.sleep(pause)

    async def _typing(self) -> None:
        try:
            await self._adapter.typing(self._key)
        except AdapterError as error:  # a missing sign of life is no reason to stay silent
            log.debug("typing_failed", error=repr(error))

    async def _write(self, *, final: bool) -> None:
        """Bring what is shown up to date with the text."""
        capabilities = self._adapter.capabilities_in(self._key)
        while length(self._rest, capabilities.length_unit) > capabilities.max_length:
            head, self._rest = split_once(
                self._rest, capabilities.max_length, capabilities.length_unit
            )
            await self._put(head, final=True)
            self._closed_parts += 1
        if text := self._rest.rstrip():
            await self._put(text, final=final)

    async def _put(self, text: str, *, final: bool) -> None:
        """Send the message that is being written, or edit it to `text`."""
        index = self._closed_parts
        if index < len(self.parts):
            part = self.parts[index]
            if (part.text, part.final) == (text, final):
                return
            await self._pace()
            await self._edit(part, text, final=final)
        else:
            if not self.parts and self._before_first is not None:
                await self._before_first()
            message = Outgoing(
                text,
                reply_to="" if index else self._reply_to,
                nonce=f"{self._nonce}.{index}",
                final=final,
                speaker=self._speaker,
            )
            self.parts.append(Part(await self._send(message), text, final))
        pause = self._adapter.capabilities_in(self._key).min_edit_interval_s
        self._not_before = max(self._not_before, self._clock.monotonic() + pause)

    async def _send(self, message: Outgoing) -> str:
        repeatable = self._adapter.capabilities_in(self._key).idempotent_send
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await self._adapter.send(self._key, message)
            except RetryAfter as error:
                await self._flood_wait(error, attempt)
            except Unreachable as error:
                if not repeatable:
                    raise SendUnknown(str(error)) from error
                await self._back_off(error, attempt)
        raise Unreachable("no attempt was made")  # not reached: the last attempt raises

    async def _edit(self, part: Part, text: str, *, final: bool) -> None:
        """Edit; one in between that fails is left to the next one, the last one is insisted on."""
        message = Outgoing(text, final=final, speaker=self._speaker)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                await self._adapter.edit(self._key, part.message_id, message)
            except RetryAfter as error:
                if not final:
                    self._not_before = self._clock.monotonic() + error.seconds
                    return
                await self._flood_wait(error, attempt)
            except Unreachable as error:
                if not final:
                    return
                await self._back_off(error, attempt)
            else:
                part.text, part.final = text, final
                return

    async def _flood_wait(self, error: RetryAfter, attempt: int) -> None:
        if attempt == MAX_ATTEMPTS or error.seconds > LONGEST_FLOOD_WAIT_S:
            raise error
        await self._clock.sleep(error.seconds)

    async def _back_off(self, error: Unreachable, attempt: int) -> None:
        if attempt == MAX_ATTEMPTS:
            raise error
        await self._clock.sleep(BACKOFF_FIRST_S * 2 ** (attempt - 1))
