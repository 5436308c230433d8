"""What becomes of a request, on its way from the engine to the one who reads it."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Sequence

from kogpt_bot.errors import GenerationError
from kogpt_bot.generation.request import Chunk

Event = Chunk | GenerationError


class EventStream:
    """The events of one request, for one reader; all of it belongs to the reader's event loop.

    A reader is woken at most once in `interval_s` seconds, and finds what came meanwhile joined: to
    wake it for each token would take a busy service's loop longer than all else. The first text,
    an error and the end are told at once.
    """

    def __init__(self, interval_s: float = 0.0) -> None:
        self._interval_s = interval_s
        self._events: list[Event] = []
        self._ended = False
        self._not_before = -math.inf  # by the loop's clock
        self._waiting: asyncio.Future[None] | None = None

    def put(self, event: Event) -> None:
        """Add an event; after an error or a finish reason there is none."""
        self._events.append(event)
        self._ended |= not isinstance(event, Chunk) or event.finish_reason is not None
        if self._waiting is not None:
            loop = self._waiting.get_loop()
            if self._ended or loop.time() >= self._not_before:
                self._wake()

    async def take(self) -> Chunk:
        """Return what has come, once there is something and it is time; raise the error.

        Not to be asked again after the chunk that has a finish reason.
        """
        loop = asyncio.get_running_loop()
        while not self._ended and not (self._events and loop.time() >= self._not_before):
            await self._wait(loop)
        chunks: list[Chunk] = []
        for event in self._events:
            if not isinstance(event, Chunk):
                if not chunks:
                    raise event
                break
            chunks.append(event)
        del self._events[: len(chunks)]
        joined = _joined(chunks)
        if joined.text or joined.logprobs:
            self._not_before = loop.time() + self._interval_s
        return joined

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiting, timer = loop.create_future(), None
        if loop.time() < self._not_before < math.inf:
            timer = loop.call_at(self._not_before, self._wake)
        try:
            await self._waiting
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    last = chunks[-1]
    return Chunk(
        "".join(each.text for each in chunks),
        tuple(itertools.chain.from_iterable(each.token_ids for each in chunks)),
        tuple(itertools.chain.from_iterable(each.logprobs for each in chunks)),
        last.finish_reason,
        last.prompt_tokens,
        last.completion_tokens,
        last.seed,
    )
