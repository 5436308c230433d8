"""Showing an answer while it is written: typing, a first message, edits at the platform's pace."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from kogpt_bot.adapter import Adapter, Capabilities, Drafting
from kogpt_bot.clock import Clock
from kogpt_bot.delivery.patience import LONGEST_FLOOD_WAIT_S, Patience
from kogpt_bot.delivery.split import length, split_once
from kogpt_bot.errors import AdapterError, NoneToSpare, NotSent, RetryAfter, Unreachable
from kogpt_bot.messages import ActionKind, ChannelKey, Outgoing

log = structlog.get_logger(__name__)

DRAFT_REFRESH_S = 20.0  # a draft goes away by itself, on Telegram after 30 s


class SendUnknown(AdapterError):
    """A send was interrupted and the platform has no key to tell whether it was shown."""


@dataclass(slots=True)
class Part:
    """One platform message of the answer, as it is shown now."""

    message_id: str
    text: str
    final: bool


# Under an answer that is done, where the platform can do so much.
OFFERS = (ActionKind.REGENERATE, ActionKind.GOOD, ActionKind.BAD, ActionKind.DELETE)


@dataclass(frozen=True, slots=True)
class Offers:
    """What people may do from under an answer: while it is written, and when it is done."""

    writing: tuple[ActionKind, ...] = ()
    done: tuple[ActionKind, ...] = ()


def offers(capabilities: Capabilities, *, wanted: bool) -> Offers:
    """Return what is offered under answers where a platform can do so much."""
    if not wanted or not capabilities.buttons:
        return Offers()
    done = OFFERS if capabilities.deletes else OFFERS[:-1]
    return Offers((ActionKind.STOP,), done)


@dataclass(slots=True)
class Sending:
    """One send: the key that it carries, and the id that the platform gave it in the end."""

    nonce: str
    message_id: str = ""


class Ledger(Protocol):
    """Where it is written down, before and after, what is sent."""

    def sending(self, number: int, text: str) -> AbstractAsyncContextManager[Sending]:
        """Record that message `number` of the answer is being sent, then that it is shown.

        The block makes one attempt, and sets the id where it succeeds. Raises SendUnknown where
        an earlier attempt may have been shown and this one might show it twice.
        """
        ...

    async def whole(self, texts: Sequence[str]) -> None:
        """Record what each message of the answer shall say, now that all of it is known."""
        ...


class AnswerStream:
    """One answer in one channel; `name` is the answer's own, the same in every attempt.

    `parts` says what is shown, also after `show` has raised. The text only grows; a message that
    is full is closed and the next one begun. `parts` that an earlier attempt has left are edited
    into the new answer. Until `deadline`, a monotonic time, a platform that is away is waited for.
    """

    def __init__(
        self,
        adapter: Adapter,
        key: ChannelKey,
        clock: Clock,
        ledger: Ledger,
        *,
        name: str,
        reply_to: str,
        deadline: float,
        speaker: str = "",
        offers: Offers | None = None,
        before_first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.parts: list[Part] = []
        self._adapter = adapter
        self._key = key
        self._clock = clock
        self._ledger = ledger
        self._reply_to = reply_to
        self._deadline = deadline
        self._speaker = speaker
        self._offers = offers or Offers()
        self._before_first = before_first  # awaited once, before anything is shown
        self._rest = ""  # text of the message that is being written
        self._closed_parts = 0  # how many of the parts are full
        self._changed = asyncio.Event()
        self._not_before = 0.0  # monotonic time of the next edit or draft
        self._draft_id = zlib.crc32(name.encode()) & 0x7FFF_FFFF or 1
        self._drafts_work = True
        self._drafted = ""  # the draft that is shown now
        self._drafted_at = 0.0
        self._flood_until = 0.0  # before this, the platform wants no call at all

    async def show(self, deltas: AsyncIterator[str], *, stream: bool) -> None:
        """Show the text that `deltas` yields until it ends; the last edit has all of it.

        An error of `deltas` is raised after the text so far was shown. Raises the
        `AdapterError` that stopped the showing, `SendUnknown` among them.
        """
        self._rest, self._closed_parts = "", 0
        reader = asyncio.create_task(self._read(deltas), name=f"read {self._key}")
        try:
            while not reader.done():
                await self._wait(reader)
                if stream and not reader.done() and self._rest.strip():
                    await self._begin()
                    await self._write_so_far()
            if texts := self._texts():
                await self._begin()
                await self._ledger.whole(texts)
                await self.finish(texts)
        finally:
            reader.cancel()
            await asyncio.wait([reader])
        reader.result()

    async def finish(self, texts: Sequence[str]) -> None:
        """Show a whole answer, recorded as such: what is not shown yet, or not as it shall be."""
        for number, text in enumerate(texts, start=1):
            await self._put(number - 1, text, final=True, last=number == len(texts))
        while len(self.parts) > len(texts) and self._capabilities.deletes:
            await self._adapter.delete(self._key, self.parts[-1].message_id)
            del self.parts[-1]

    async def send_again(self, text: str) -> None:
        """Show the next message, whose sending was interrupted, under the key that it had."""
        await self._put(len(self.parts), text, final=False)

    @property
    def _capabilities(self) -> Capabilities:
        return self._adapter.capabilities_in(self._key)

    async def _begin(self) -> None:
        before, self._before_first = self._before_first, None
        if before is not None:
            await before()

    async def _read(self, deltas: AsyncIterator[str]) -> None:
        async for delta in deltas:
            self._rest += delta
            self._changed.set()

    async def _wait(self, reader: asyncio.Task[None]) -> None:
        """Return when there is text to show and the pace allows it, or when the reader is done."""
        if self._clock.monotonic() < self._not_before:
            await self._first_of(reader, self._pace())
            return
        capabilities = self._capabilities
        if self._drafted:
            await self._first_of(reader, self._changed.wait(), self._clock.sleep(DRAFT_REFRESH_S))
        elif not self.parts and capabilities.typing:
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

    async def _write_so_far(self) -> None:
        """Show an unfinished text: as a draft or by edits, as the channel allows."""
        adapter = self._adapter
        capabilities = adapter.capabilities_in(self._key)
        begun = len(self.parts) > self._closed_parts  # a message is being edited
        drafts = capabilities.native_drafts and self._drafts_work and not begun
        if drafts and isinstance(adapter, Drafting):
            await self._close_full_parts()
            await self._draft(adapter, self._rest.rstrip())
        elif capabilities.edits:
            await self._close_full_parts()
            if text := self._rest.rstrip():
                await self._put(self._closed_parts, text, final=False)

    async def _close_full_parts(self) -> None:
        """Send or finish the messages that the text fills."""
        capabilities = self._capabilities
        while length(self._rest, capabilities.length_unit) > capabilities.max_length:
            head, self._rest = split_once(
                self._rest, capabilities.max_length, capabilities.length_unit
            )
            await self._put(self._closed_parts, head, final=True, last=False)
            self._closed_parts += 1

    def _texts(self) -> list[str]:
        """Return what each message of the answer shall say."""
        full, rest = self._split()
        texts = [*(part.text for part in self.parts[: self._closed_parts]), *full]
        return [*texts, rest.rstrip()] if rest.strip() else texts

    def _split(self) -> tuple[list[str], str]:
        """Return the messages that the text fills, and what is left of it."""
        capabilities = self._capabilities
        full, rest = [], self._rest
        while length(rest, capabilities.length_unit) > capabilities.max_length:
            head, rest = split_once(rest, capabilities.max_length, capabilities.length_unit)
            full.append(head)
        return full, rest

    async def _draft(self, adapter: Drafting, text: str) -> None:
        """Show a draft; where the platform does not take it, this answer goes on by edits."""
        now = self._clock.monotonic()
        if not text or (text == self._drafted and now - self._drafted_at < DRAFT_REFRESH_S):
            return
        try:
            message = Outgoing(text, final=False, speaker=self._speaker)
            await adapter.draft(self._key, self._draft_id, message)
        except RetryAfter as error:
            self._hold(error.seconds)
        except Unreachable as error:  # the next draft has this text too
            log.debug("draft_failed", error=repr(error))
        except AdapterError as error:
            log.info("drafts_not_taken", adapter=self._adapter.name, why=str(error))
            self._drafts_work, self._drafted = False, ""
            return
        else:
            self._drafted, self._drafted_at = text, now
        self._rest_between_edits()

    def _rest_between_edits(self) -> None:
        pause = self._capabilities.min_edit_interval_s
        self._not_before = max(self._not_before, self._clock.monotonic() + pause)

    def _hold(self, seconds: float) -> None:
        """Make no call for so long: the platform asked for it."""
        self._flood_until = self._not_before = self._clock.monotonic() + seconds

    async def _sit_out_flood(self) -> None:
        """Wait until the platform takes calls again; RetryAfter where that is too long."""
        left = self._flood_until - self._clock.monotonic()
        if left > LONGEST_FLOOD_WAIT_S:
            raise RetryAfter(left)
        if left > 0:
            await self._clock.sleep(left)

    async def _put(self, number: int, text: str, *, final: bool, last: bool = True) -> None:
        """Send a message of the answer, or edit it to `text`; offers are under the last one."""
        offers = (self._offers.done if final else self._offers.writing) if last else ()
        if number < len(self.parts):
            part = self.parts[number]
            if (part.text, part.final) == (text, final):
                return
            await self._sit_out_flood()
            await self._pace()
            await self._edit(part, text, final=final, offers=offers)
        else:
            await self._sit_out_flood()
            message = Outgoing(
                text,
                reply_to="" if number else self._reply_to,
                final=final,
                speaker=self._speaker,
                offers=offers,
            )
            self.parts.append(Part(await self._send(number, message), text, final))
            self._drafted = ""  # the message took the draft's place
        self._rest_between_edits()

    async def _send(self, number: int, message: Outgoing) -> str:
        keyed = self._capabilities.idempotent_send
        patience, unsure = Patience(self._clock, self._deadline), False
        while True:
            try:
                async with self._ledger.sending(number, message.text) as sending:
                    named = replace(message, nonce=sending.nonce)
                    sending.message_id = await self._adapter.send(self._key, named)
                return sending.message_id
            except (RetryAfter, Unreachable) as error:
                unsure = unsure or not isinstance(error, RetryAfter | NotSent)
                if (keyed or not unsure) and await patience.wait(error):
                    continue
                if unsure:
                    raise SendUnknown(str(error)) from error
                raise

    async def _edit(
        self, part: Part, text: str, *, final: bool, offers: tuple[ActionKind, ...]
    ) -> None:
        """Edit; one in between that fails is left to the next one, the last one is insisted on."""
        message = Outgoing(text, final=final, speaker=self._speaker, offers=offers)
        patience = Patience(self._clock, self._deadline)
        while True:
            try:
                await self._adapter.edit(self._key, part.message_id, message)
            except (RetryAfter, Unreachable) as error:
                if not final:
                    if isinstance(error, RetryAfter) and not isinstance(error, NoneToSpare):
                        self._hold(error.seconds)
                    return
                if not await patience.wait(error):
                    raise
            else:
                part.text, part.final = text, final
                return
