"""The generation service's HTTP: OpenAI-compatible completions, health, metrics, the tokenizer."""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kogpt_bot.generation import completions
from kogpt_bot.generation.completions import Caller
from kogpt_bot.generation.engine_port import EnginePort
from kogpt_bot.generation.metrics import render
from kogpt_bot.generation.protocol import (
    ApiError,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
    explain,
)

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 4 << 20
MAX_SESSION_CHARS = 256
MAX_PRIORITY = 100
MAX_DEADLINE_S = 86_400.0

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")


@dataclass(slots=True)
class Service:
    """The state that the API serves: an engine once it is loaded, until then the progress."""

    engine: EnginePort | None = None
    loading: str = "starting"
    share: float = 0.0
    api_key: str | None = None
    started: float = 0.0  # wall time, as a model's `created`


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
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_gone,
            Exception: _unexpected,
        },
    )


async def _api_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return JSONResponse(error.body, error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer for a path or a method that there is not."""
    if not isinstance(error, HTTPException):
        raise error
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(ApiError(error.status_code, message).body, error.status_code, error.headers)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the work was cancelled


async def _unexpected(_request: Request, _error: Exception) -> Response:
    # The server logs the traceback: Starlette raises it again after this answer.
    return JSONResponse(ApiError(500, "internal error", "server_error").body, 500)


class _Api:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def _admit(self, request: Request) -> None:
        """Let a caller with the key pass; 401 otherwise."""
        if self._service.api_key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._service.api_key.encode())
        if scheme.lower() != "bearer" or not right:
            raise ApiError(
                401,
                "the API key is missing or wrong; send it as: Authorization: Bearer KEY",
                "authentication_error",
                code="invalid_api_key",
            )

    def _engine(self, request: Request) -> EnginePort:
        """Return the engine for a caller with the key; 401 and 503 otherwise."""
        self._admit(request)
        if self._service.engine is None:
            raise ApiError(
                503,
                f"the model is loading: {self._service.loading}, {self._service.share:.0%}",
                "server_error",
                code="loading",
                retry_s=1.0,
            )
        return self._service.engine

    async def health(self, _request: Request) -> Response:
        engine = self._service.engine
        stats = engine.stats() if engine is not None else None
        body: dict[str, Any] = {
            "live": stats is None or stats.alive,
            "ready": stats is not None and stats.alive,
            "loading": None if engine else self._service.loading,
            "progress": 1.0 if engine else round(self._service.share, 3),
        }
        if stats is not None:
            body |= {
                "running": stats.running,
                "waiting": stats.waiting,
                "idle_s": round(time.monotonic() - stats.last_step, 3),
            }
        return JSONResponse(body, 200 if body["ready"] else 503)

    async def metrics(self, request: Request) -> Response:
        self._admit(request)
        return Response(render(self._service.engine), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        engine = self._engine(request)
        return JSONResponse({"object": "list", "data": [self._card(engine)]})

    async def model(self, request: Request) -> Response:
        engine = self._engine(request)
        _known(engine, request.path_params["model"])
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

    async def tokenize(self, request: Request) -> Response:
        engine = self._engine(request)
        asked = await _read(request, TokenizeRequest)
        _known(engine, asked.model)
        ids = await completions.encode(engine, asked.prompt)
        length = engine.info.context_length
        return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": length})

    async def detokenize(self, request: Request) -> Response:
        engine = self._engine(request)
        asked = await _read(request, DetokenizeRequest)
        _known(engine, asked.model)
        if wrong := [each for each in asked.tokens if each >= engine.info.vocab_size]:
            raise ApiError(
                400,
                f"tokens: {wrong[0]}; allowed: 0 to {engine.info.vocab_size - 1}",
                param="tokens",
            )
        return JSONResponse({"prompt": engine.decode(asked.tokens)})

    async def tokenizer(self, request: Request) -> Response:
        return Response(self._engine(request).tokenizer_json, media_type="application/json")

    async def completions(self, request: Request) -> Response:
        engine = self._engine(request)
        asked = await _read(request, CompletionRequest)
        _known(engine, asked.model)
        requests = await completions.make_requests(engine, asked, _caller(request))
        head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": engine.info.name,
        }
        if not asked.stream:
            answer = completions.whole(engine, requests, asked, head)
            return JSONResponse(await _while_connected(request, answer))
        events = completions.stream(engine, requests, asked, head)
        # What is refused is refused before the first byte, with a status of its own.
        first = await _while_connected(request, _first(events))
        return StreamingResponse(
            _with_first(first, events),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


def _known(engine: EnginePort, name: str | None) -> None:
    """Raise a 404 for a model that is not served; none named is fine."""
    served = engine.info.name
    if name and name not in (served, served.rstrip("/").rpartition("/")[2]):
        raise ApiError(
            404,
            f"model: {name!r} is not served; allowed: {served}",
            param="model",
            code="model_not_found",
        )


def _caller(request: Request) -> Caller:
    """Return what the headers say.

    The priority is a header and no field of the body: vLLM has a field of that name in which
    less is more.
    """
    session = request.headers.get("x-session-id", "")
    if len(session) > MAX_SESSION_CHARS:
        raise ApiError(400, f"x-session-id: allowed: at most {MAX_SESSION_CHARS} characters")
    try:
        priority = int(request.headers.get("x-priority", "0"))
    except ValueError:
        priority = MAX_PRIORITY + 1
    if abs(priority) > MAX_PRIORITY:
        raise ApiError(400, f"x-priority: allowed: -{MAX_PRIORITY} to {MAX_PRIORITY}")
    return Caller(session, priority, _deadline(request))


def _deadline(request: Request) -> float | None:
    """Return after how many seconds nobody waits for the answer any more."""
    if (given := request.headers.get("x-deadline-s")) is None:
        return None
    try:
        deadline = float(given)
    except ValueError:
        deadline = 0.0
    if not 0 < deadline <= MAX_DEADLINE_S:
        raise ApiError(400, f"x-deadline-s: allowed: above 0, to {MAX_DEADLINE_S:g} seconds")
    return deadline


async def _read(request: Request, kind: type[B]) -> B:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, f"the body is too large; allowed: {MAX_BODY_BYTES} bytes")
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as error:
        raise explain(error) from error


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; a client that hangs up cancels it."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.wait([task, gone])


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _first(events: AsyncGenerator[str, None]) -> str:
    return await anext(events)


async def _with_first(first: str, events: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event
