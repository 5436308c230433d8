"""`/v1/completions`: a validated body to requests of the engine, and their chunks to an answer."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from kogpt_bot.errors import GenerationError
from kogpt_bot.generation.engine_port import EnginePort
from kogpt_bot.generation.protocol import (
    MAX_CHOICES,
    ApiError,
    CompletionRequest,
    choice,
    logprobs_body,
    usage,
)
from kogpt_bot.generation.request import Chunk, GenerationRequest

INTERVAL_S = 0.04  # at most one event of a choice in this time: a reader sees no difference
DEFAULT_MAX_TOKENS = 16  # OpenAI's
LONG_TEXT_CHARS = 4096  # longer text is encoded off the event loop, which other streams need

Event = Chunk | Exception


@dataclass(frozen=True, slots=True)
class Caller:
    """What the headers of a request say: whose it is, and how it ranks."""

    session: str = ""
    priority: int = 0
    deadline_s: float | None = None


async def encode(engine: EnginePort, text: str) -> list[int]:
    """Return the ids of `text` without holding up the event loop."""
    if len(text) < LONG_TEXT_CHARS:
        return engine.encode(text)
    return await asyncio.to_thread(engine.encode, text)


async def make_requests(
    engine: EnginePort, asked: CompletionRequest, caller: Caller
) -> list[GenerationRequest]:
    """Return one request for each choice of each prompt; ApiError for one that cannot be served."""
    wanted = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
    choices = asked.n or 1
    if wanted == 0 and not asked.echo:
        raise ApiError(400, "max_tokens: 0 is only allowed with echo", param="max_tokens")
    if len(asked.prompts) * choices > MAX_CHOICES:
        raise ApiError(
            400,
            f"n: {len(asked.prompts)} prompts times {choices}; allowed: {MAX_CHOICES} in all",
            param="n",
        )
    if asked.stream_options is not None and not asked.stream:
        raise ApiError(400, "stream_options: only allowed with stream", param="stream_options")
    return [
        GenerationRequest(
            id=uuid.uuid4().hex,
            prompt_ids=prompt_ids,
            params=asked.sampling(number),
            max_tokens=wanted,
            stop=asked.stops,
            include_stop=bool(asked.include_stop_str_in_output),
            ignore_eos=bool(asked.ignore_eos),
            logprobs=asked.logprobs,
            echo=bool(asked.echo),
            channel=caller.session,
            priority=caller.priority,
            cache_salt=asked.cache_salt or "",
            deadline_s=caller.deadline_s,
            interval_s=INTERVAL_S if asked.stream else math.inf,
        )
        for prompt in asked.prompts
        for prompt_ids in [await _prompt_ids(engine, prompt, min(wanted, 1))]
        for number in range(choices)
    ]


async def _prompt_ids(engine: EnginePort, prompt: str | list[int], room: int) -> tuple[int, ...]:
    ids = await encode(engine, prompt) if isinstance(prompt, str) else prompt
    context, end = engine.info.context_length, engine.info.eos_token_id
    if not ids and end is not None:
        ids = [end]  # an empty prompt begins a new text
    if len(ids) + room > context:
        raise ApiError(
            400,
            f"prompt: {len(ids)} tokens; allowed: at most {context - room} "
            f"(the model's context is {context})",
            param="prompt",
            code="context_length_exceeded",
        )
    return tuple(ids)


async def whole(
    engine: EnginePort,
    requests: Sequence[GenerationRequest],
    asked: CompletionRequest,
    head: dict[str, Any],
) -> dict[str, Any]:
    """Return the answer once everything is written; the first failure cancels the rest."""

    async def one(request: GenerationRequest) -> list[Chunk]:
        async with aclosing(engine.generate(request)) as chunks:
            return [chunk async for chunk in chunks]

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in requests]
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise ApiError.of(first) if isinstance(first, GenerationError) else first from failures
    answers = [task.result() for task in tasks]
    choices = []
    for index, chunks in enumerate(answers):
        scores = [score for chunk in chunks for score in chunk.logprobs]
        body = logprobs_body(scores) if asked.logprobs is not None else None
        text = "".join(chunk.text for chunk in chunks)
        choices.append(choice(index, text, chunks[-1].finish_reason, body))
    last = [chunks[-1] for chunks in answers]
    seed = last[0].seed
    return {**head, "choices": choices, "usage": usage(last, len(asked.prompts)), "seed": seed}


async def stream(
    engine: EnginePort,
    requests: Sequence[GenerationRequest],
    asked: CompletionRequest,
    head: dict[str, Any],
) -> AsyncGenerator[str, None]:
    """Give server-sent events; closing it cancels every choice.

    What fails before the first event is raised, as ApiError where the engine said no; what fails
    later becomes an event.
    """
    # One place: what a slow client does not take yet is joined where it waits.
    queue: asyncio.Queue[tuple[int, Event]] = asyncio.Queue(1)

    async def one(index: int, request: GenerationRequest) -> None:
        try:
            async with aclosing(engine.generate(request)) as chunks:
                async for chunk in chunks:
                    await queue.put((index, chunk))
        except Exception as error:  # noqa: BLE001  # raised again by the reader of the queue
            await queue.put((index, error))

    tasks = [asyncio.create_task(one(n, each)) for n, each in enumerate(requests)]
    try:
        last: list[Chunk] = []
        sent = False
        while len(last) < len(requests):
            index, event = await queue.get()
            if isinstance(event, Exception):
                if not sent:
                    raise _shaped(event)
                yield _failure(event)
                return
            if event.finish_reason is not None:
                last.append(event)
            if event.text or event.logprobs or event.finish_reason is not None:
                yield _event({**head, **_choice_body(index, event, asked)})
                sent = True
        if asked.stream_options is not None and asked.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": usage(last, len(asked.prompts))})
        yield "data: [DONE]\n\n"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _choice_body(index: int, chunk: Chunk, asked: CompletionRequest) -> dict[str, Any]:
    scores = logprobs_body(chunk.logprobs) if asked.logprobs is not None else None
    seed = {} if chunk.seed is None else {"seed": chunk.seed}
    return {"choices": [choice(index, chunk.text, chunk.finish_reason, scores)], **seed}


def _shaped(error: Exception) -> Exception:
    return ApiError.of(error) if isinstance(error, GenerationError) else error


def _failure(error: Exception) -> str:
    shaped = _shaped(error)
    if not isinstance(shaped, ApiError):
        shaped = ApiError(500, "internal error", "server_error")
    return _event(shaped.body)


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
