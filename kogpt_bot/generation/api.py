"""The generation service's HTTP: OpenAI-compatible completions, health, metrics, the tokenizer."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kogpt_bot.errors import GenerationBusy, GenerationError, GenerationRejected
from kogpt_bot.generation.metrics import render
from kogpt_bot.generation.protocol import (
    CompletionRequest,
    choice,
    error_body,
    explain,
    logprobs_body,
    usage,
)
from kogpt_bot.generation.request import Chunk, GenerationRequest

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 4 << 20
COALESCE_S = 0.04  # at most one event per stream in this time: a reader sees no difference
DEFAULT_MAX_TOKENS = 16  # OpenAI's

T = TypeVar("T", bound=BaseModel)


class EnginePort(Protocol):
    """What the API needs of an engine; `engine.Engine` is one."""

    info: Any
    tokenizer_json: str

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is special."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Stream a continuation."""
        ...

    def stats(self) -> Any:
        """Return what the engine does."""
        ...

    async def close(self) -> None:
        """End the engine."""
        ...


@dataclass(slots=True)
class Service:
    """The state that the API serves: an engine once it is loaded, until then the progress."""

    engine: EnginePort | None = None
    loading: str = "starting"
    share: float = 0.0
    api_key: str | None = None
    started: float = 0.0


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, type_: str, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"Retry-After": extra.pop("retry")} if "retry" in extra else {}
        self.body = error_body(message, type_=type_, **extra)


def make_app(service: Service) -> Starlette:
    """Return the API as an ASGI application."""
    api = _Api(service)
    return Starlette(
        routes=[
            Route("/v1/completions", api.completions, methods=["POST"]),
            Route("/v1/models", api.models),
            Route("/v1/models/{model:path}", api.model),
            Route("/health", api.health),
            Route("/metrics", api.metrics),
            Route("/tokenize", api.tokenize, methods=["POST"]),
            Route("/detokenize", api.detokenize, methods=["POST"]),
            Route("/tokenizer.json", api.tokenizer),
        ],
        exception_handlers={ApiError: _api_error, Exception: _unexpected},
    )


async def _api_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return JSONResponse(error.body, error.status, headers=error.headers)


async def _unexpected(_request: Request, error: Exception) -> Response:
    log.error("request_failed", exc_info=error)
    return JSONResponse(error_body("internal error", type_="server_error"), 500)


def _as_api_error(error: GenerationError) -> ApiError:
    if isinstance(error, GenerationRejected):
        return ApiError(400, str(error), "invalid_request_error", param="prompt")
    if isinstance(error, GenerationBusy):
        retry = str(max(1, round(error.seconds)))
        return ApiError(429, str(error), "rate_limit_error", code="queue_full", retry=retry)
    return ApiError(500, str(error), "server_error")


class _Text(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt: str


class _Ids(BaseModel):
    model_config = ConfigDict(extra="ignore")
    tokens: list[int]


class _Api:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def _engine(self, request: Request) -> EnginePort:
        """Return the engine for a caller with the key; 401 and 503 otherwise."""
        if self._service.api_key is not None:
            given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode(), self._service.api_key.encode()):
                raise ApiError(
                    401, "the API key is missing or wrong", "authentication_error",
                    code="invalid_api_key",
                )  # fmt: skip
        if self._service.engine is None:
            raise ApiError(
                503, f"the model is loading: {self._service.loading}", "server_error",
                code="loading", retry="1",
            )  # fmt: skip
        return self._service.engine

    async def health(self, _request: Request) -> Response:
        engine = self._service.engine
        body: dict[str, Any] = {
            "live": True,
            "ready": engine is not None,
            "loading": None if engine else self._service.loading,
            "progress": 1.0 if engine else round(self._service.share, 3),
        }
        if engine is not None:
            stats = engine.stats()
            body |= {
                "running": stats.running,
                "waiting": stats.waiting,
                "idle_s": round(time.monotonic() - stats.last_step, 3),
            }
        return JSONResponse(body, 200 if engine else 503)

    async def metrics(self, _request: Request) -> Response:
        return Response(render(self._service.engine), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        engine = self._engine(request)
        return JSONResponse({"object": "list", "data": [self._card(engine)]})

    async def model(self, request: Request) -> Response:
        engine = self._engine(request)
        self._known(engine, request.path_params["model"])
        return JSONResponse(self._card(engine))

    def _card(self, engine: EnginePort) -> dict[str, Any]:
        return {
            "id": engine.info.name,
            "object": "model",
            "created": int(self._service.started),
            "owned_by": "kogpt-bot",
            "revision": engine.info.revision,
            "max_model_len": engine.info.context_length,
            "vocab_size": engine.info.vocab_size,
            "dtype": engine.info.dtype,
            "device": engine.info.device,
        }

    @staticmethod
    def _known(engine: EnginePort, name: str) -> None:
        if name not in (engine.info.name, engine.info.name.rstrip("/").rpartition("/")[2]):
            raise ApiError(
                404, f"model: {name!r} is not served; allowed: {engine.info.name}",
                "invalid_request_error", param="model", code="model_not_found",
            )  # fmt: skip

    async def tokenize(self, request: Request) -> Response:
        engine = self._engine(request)
        ids = engine.encode((await _read(request, _Text)).prompt)
        return JSONResponse(
            {"tokens": ids, "count": len(ids), "max_model_len": engine.info.context_length}
        )

    async def detokenize(self, request: Request) -> Response:
        engine = self._engine(request)
        return JSONResponse({"prompt": engine.decode((await _read(request, _Ids)).tokens)})

    async def tokenizer(self, request: Request) -> Response:
        return Response(self._engine(request).tokenizer_json, media_type="application/json")

    async def completions(self, request: Request) -> Response:
        engine = self._engine(request)
        asked = await _read(request, CompletionRequest)
        if asked.model:
            self._known(engine, asked.model)
        channel = request.headers.get("x-session-id", "")
        requests = _requests(engine, asked, channel)
        head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": engine.info.name,
        }
        if asked.stream:
            events = _stream(engine, requests, asked, head)
            # What is refused is refused before the first byte, with its own status.
            first = await anext(events)
            return StreamingResponse(
                _with_first(first, events),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            )
        return await _whole(request, engine, requests, head)


async def _read(request: Request, kind: type[T]) -> T:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(
                413, f"the body is larger than {MAX_BODY_BYTES} bytes", "invalid_request_error"
            )
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        param, message = explain(error)
        raise ApiError(400, message, "invalid_request_error", param=param) from error


def _requests(
    engine: EnginePort, asked: CompletionRequest, channel: str
) -> list[GenerationRequest]:
    wanted = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
    context = engine.info.context_length
    if wanted == 0 and not asked.echo:
        raise ApiError(
            400, "max_tokens: 0 is only allowed with echo", "invalid_request_error",
            param="max_tokens",
        )  # fmt: skip
    made = []
    for prompt in asked.prompts:
        ids = engine.encode(prompt) if isinstance(prompt, str) else prompt
        if not ids and engine.info.eos_token_id is not None:
            ids = [engine.info.eos_token_id]  # an empty prompt begins a new text
        if len(ids) + min(wanted, 1) > context:
            raise ApiError(
                400, f"prompt: {len(ids)} tokens; allowed: at most {context - min(wanted, 1)} "
                f"(the model's context is {context})", "invalid_request_error",
                param="prompt", code="context_length_exceeded",
            )  # fmt: skip
        made += [
            GenerationRequest(
                id=uuid.uuid4().hex,
                prompt_ids=tuple(ids),
                params=asked.sampling(number),
                max_tokens=wanted,
                stop=asked.stops,
                include_stop=bool(asked.include_stop_str_in_output),
                ignore_eos=bool(asked.ignore_eos),
                logprobs=asked.logprobs,
                echo=bool(asked.echo),
                channel=channel,
                priority=asked.priority or 0,
            )
            for number in range(asked.n or 1)
        ]
    return made


async def _whole(
    request: Request,
    engine: EnginePort,
    requests: Sequence[GenerationRequest],
    head: dict[str, Any],
) -> Response:
    """Answer when everything is written; a client that hangs up cancels it."""

    async def one(asked: GenerationRequest) -> list[Chunk]:
        return [chunk async for chunk in engine.generate(asked)]

    work = asyncio.gather(*(one(each) for each in requests))
    gone = asyncio.create_task(_disconnected(request))
    try:
        waiting: list[asyncio.Future[Any]] = [work, gone]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        answers = await work
    except GenerationError as error:
        raise _as_api_error(error) from error
    finally:
        gone.cancel()
        work.cancel()
    choices = []
    for index, chunks in enumerate(answers):
        scores = [score for chunk in chunks for score in chunk.logprobs]
        body = logprobs_body(scores) if requests[index].logprobs is not None else None
        text = "".join(chunk.text for chunk in chunks)
        choices.append(choice(index, text, chunks[-1].finish_reason, body))
    last = [chunks[-1] for chunks in answers]
    return JSONResponse({**head, "choices": choices, "usage": usage(last), "seed": last[0].seed})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _with_first(first: str, events: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


async def _stream(
    engine: EnginePort,
    requests: Sequence[GenerationRequest],
    asked: CompletionRequest,
    head: dict[str, Any],
) -> AsyncGenerator[str, None]:
    """Give server-sent events; closing it cancels every choice."""
    queue: asyncio.Queue[tuple[int, Chunk | GenerationError]] = asyncio.Queue()

    async def one(index: int, request: GenerationRequest) -> None:
        try:
            async with aclosing(engine.generate(request)) as chunks:
                async for chunk in chunks:
                    queue.put_nowait((index, chunk))
        except GenerationError as error:
            queue.put_nowait((index, error))

    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(one(n, each)) for n, each in enumerate(requests)]
        stack.callback(lambda: [task.cancel() for task in tasks])
        finished: list[Chunk] = []
        sent = False
        while len(finished) < len(requests):
            for index, event in await _gather(queue):
                if isinstance(event, GenerationError):
                    error = _as_api_error(event)
                    if not sent:
                        raise error from event
                    yield _event(error.body)
                    return
                if event.finish_reason is not None:
                    finished.append(event)
                if event.text or event.logprobs or event.finish_reason is not None:
                    scores = logprobs_body(event.logprobs) if asked.logprobs is not None else None
                    body = choice(index, event.text, event.finish_reason, scores)
                    extra = {"seed": event.seed} if event.seed is not None else {}
                    yield _event({**head, "choices": [body], **extra})
                    sent = True
        if asked.stream_options and asked.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": usage(finished)})
        yield "data: [DONE]\n\n"


async def _gather(
    queue: asyncio.Queue[tuple[int, Chunk | GenerationError]],
) -> list[tuple[int, Chunk | GenerationError]]:
    """Return what came, joined per choice; waits a moment where a stream is in full flow."""
    events = [await queue.get()]
    first = events[0][1]
    if isinstance(first, Chunk) and first.finish_reason is None and not queue.empty():
        await asyncio.sleep(COALESCE_S)
    while not queue.empty():
        events.append(queue.get_nowait())
    joined: list[tuple[int, Chunk | GenerationError]] = []
    latest: dict[int, int] = {}  # choice -> its place in `joined`
    for index, event in events:
        place = latest.get(index)
        before = joined[place][1] if place is not None else None
        if isinstance(event, Chunk) and isinstance(before, Chunk) and place is not None:
            joined[place] = (index, _join(before, event))
        else:
            latest[index] = len(joined)
            joined.append((index, event))
    return joined


def _join(one: Chunk, two: Chunk) -> Chunk:
    return Chunk(
        one.text + two.text,
        one.token_ids + two.token_ids,
        one.logprobs + two.logprobs,
        two.finish_reason,
        two.prompt_tokens,
        two.completion_tokens,
        two.seed,
    )


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
