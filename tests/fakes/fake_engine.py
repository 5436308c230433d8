"""An engine without a model: it answers with the text that it was given, a character a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from kogpt_bot.errors import GenerationBusy
from kogpt_bot.generation.event_stream import EventStream
from kogpt_bot.generation.figures import Distribution, EngineStats
from kogpt_bot.generation.request import Chunk, FinishReason, GenerationRequest, TokenLogprob

GAPS = Distribution((("0.01", 1), ("+Inf", 3)), 0.5)


@dataclass(frozen=True)
class FakeInfo:
    name: str = "fakes/fake"
    revision: str = "main"
    context_length: int = 64
    vocab_size: int = 0x110000
    eos_token_id: int | None = 1
    dtype: str = "float32"
    device: str = "cpu"


@dataclass
class FakeEngine:
    """`fail_at` raises `error` before that character; `hang_at` waits there for ever."""

    text: str = "안녕하세요"
    info: FakeInfo = field(default_factory=FakeInfo)
    error: Exception | None = None
    fail_at: int = 0
    hang_at: int | None = None
    busy_prompt: tuple[int, ...] | None = None  # the prompt that is told to come back later
    requests: list[GenerationRequest] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0  # generators that ended, however they did
    cancelled: int = 0
    tokenizer_json: str = '{"fake": true}'
    alive: bool = True

    def encode(self, text: str) -> list[int]:
        return [ord(char) for char in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(each) for each in ids)

    def stats(self) -> EngineStats:
        return EngineStats(
            alive=self.alive,
            running=len(self.requests) - self.ended,
            cache_tokens=3,
            cache_capacity=640,
            steps=7,
            prefilled=5,
            reused=2,
            generated=4,
            token_gap=GAPS,
        )

    async def close(self) -> None:
        pass

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        events, finished = EventStream(request.interval_s), False
        writer = asyncio.create_task(self._write(request, events))
        try:
            while not finished:
                chunk = await events.take()
                yield chunk
                finished = chunk.finish_reason is not None
        finally:
            writer.cancel()
            await asyncio.wait([writer])
            self.ended += 1
            self.cancelled += not finished

    async def _write(self, request: GenerationRequest, events: EventStream) -> None:
        try:
            async for chunk in self.chunks(request):
                events.put(chunk)
        except Exception as error:  # raised again by the one who reads
            events.put(error)  # type: ignore[arg-type]

    async def chunks(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Write an answer; what takes its time, or fails, does it here: a reader is told less."""
        if request.prompt_ids == self.busy_prompt:
            raise GenerationBusy(1.0)
        for at, char in enumerate(self.text[: request.max_tokens]):
            if self.error is not None and at == self.fail_at:
                raise self.error
            if at == self.hang_at:
                self.started.set()
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            scores: tuple[TokenLogprob, ...] = ()
            if request.logprobs is not None:
                scores = (TokenLogprob(ord(char), char, -0.5, ((char, -0.5),), at),)
            yield Chunk(char, (ord(char),), scores)
        short = len(self.text) < request.max_tokens
        yield Chunk(
            finish_reason=FinishReason.STOP if short else FinishReason.LENGTH,
            prompt_tokens=len(request.prompt_ids),
            completion_tokens=min(len(self.text), request.max_tokens),
            seed=request.params.seed or 42,
        )
