"""The only way the daemon talks to a generation service: ours, or any OpenAI-compatible one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError, aconnect_sse

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationInterrupted,
    GenerationOutOfMemory,
    GenerationRejected,
    GenerationUnavailable,
)
from kogpt_bot.generation.request import SamplingParams

CONNECT_S = 5.0
FIRST_S = 300.0  # until the first piece: a queue, and a long prompt read by a large model on a CPU
SILENCE_S = 60.0  # between two pieces
KEEPALIVE_S = 2.0  # under uvicorn's 5 s, so that no request meets the end of its connection
DEFAULT_RETRY_S = 1.0

# Statuses that speak of the moment and not of the request. Others: 5xx failed, 4xx is refused.
STATUSES: dict[int, type[GenerationError]] = {
    408: GenerationUnavailable,
    425: GenerationUnavailable,
    429: GenerationBusy,
    502: GenerationUnavailable,
    503: GenerationUnavailable,
    504: GenerationUnavailable,
}
# What our own service adds, in an answer or in the middle of a stream: it says more than a status.
CODES: dict[str, type[GenerationError]] = {
    "out_of_memory": GenerationOutOfMemory,
    "deadline_exceeded": GenerationExpired,
    "unavailable": GenerationUnavailable,
}


@dataclass(frozen=True, slots=True)
class Completion:
    """What is asked for. `session` is the same for the requests of one conversation."""

    prompt: tuple[int, ...] | str
    params: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    session: str = ""
    priority: int = 0
    model: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer; the last one says why it ended."""

    text: str
    finish_reason: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a service serves."""

    name: str
    context_length: int | None  # tokens; None where the service does not say
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a service can answer; `loading` and `progress` while it cannot yet. One that is not
    `live` will not again."""

    ready: bool
    loading: str = ""
    progress: float = 1.0
    running: int = 0
    waiting: int = 0
    idle_s: float = 0.0
    live: bool = True


class GenerationClient:
    """A connection to one service, over TCP or a Unix socket. Close it at the end.

    Every method raises the subclasses of GenerationError and nothing else.
    """

    def __init__(
        self,
        base_url: str,
        *,
        uds: str | None = None,
        api_key: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=transport or (httpx.AsyncHTTPTransport(uds=uds) if uds else None),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(FIRST_S, connect=CONNECT_S),
            limits=httpx.Limits(
                max_connections=300, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE_S
            ),
            trust_env=uds is None,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def stream(self, completion: Completion) -> AsyncGenerator[Delta, None]:
        """Stream a continuation; closing the generator cancels it at the service."""
        body, headers = _body(completion), _headers(completion)
        ended = False
        async with (
            self._translated(),
            aconnect_sse(
                self._http, "POST", "/v1/completions", json=body, headers=headers
            ) as source,
        ):
            await _check(source.response)
            async with aclosing(_events(source)) as events:
                async for event in events:
                    if event.data == "[DONE]":
                        break
                    delta = _delta(event)
                    ended = ended or bool(delta.finish_reason)
                    yield delta
        if not ended:
            raise GenerationInterrupted("the stream ended in the middle")

    async def model(self) -> ServedModel:
        """Return the (first) model that is served."""
        async with self._translated():
            answer = await self._http.get("/v1/models")
            await _check(answer)
        with _understood("/v1/models"):
            card = answer.json()["data"][0]
            length = card.get("max_model_len")
            revision = str(card.get("revision") or "")
            return ServedModel(str(card["id"]), None if length is None else int(length), revision)

    async def tokenizer_json(self) -> bytes | None:
        """Return the serving model's own tokenizer; None from a service that does not give it."""
        async with self._translated():
            answer = await self._http.get("/tokenizer.json")
            if answer.status_code == 404:
                return None
            await _check(answer)
            return answer.content

    async def metrics(self) -> str:
        """Return the service's figures in Prometheus' text format."""
        async with self._translated():
            answer = await self._http.get("/metrics", timeout=CONNECT_S)
            await _check(answer)
            return answer.text

    async def health(self) -> Health:
        """Return whether the service can answer."""
        async with self._translated():
            answer = await self._http.get("/health", timeout=CONNECT_S)
        try:
            body = answer.json()
        except ValueError:
            body = None  # vLLM answers with an empty body
        if not isinstance(body, dict) or "ready" not in body:
            return Health(ready=answer.is_success)
        with _understood("/health"):
            return Health(
                ready=bool(body["ready"]),
                loading=str(body.get("loading") or ""),
                progress=float(body.get("progress", 1.0)),
                running=int(body.get("running", 0)),
                waiting=int(body.get("waiting", 0)),
                idle_s=float(body.get("idle_s", 0.0)),
                live=bool(body.get("live", True)),
            )

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Turn what httpx raises into our errors."""
        if self._http.is_closed:
            raise GenerationUnavailable("the connection to the generation service is closed")
        try:
            yield
        except tuple(foreign for foreign, _ in TRANSLATION) as error:
            ours = next(ours for foreign, ours in TRANSLATION if isinstance(error, foreign))
            raise ours(f"{type(error).__name__}: {error}".rstrip(": ")) from error


async def _events(source: EventSource) -> AsyncGenerator[ServerSentEvent, None]:
    """Give the events; `FIRST_S` was for the headers, from then on none may be late."""
    async with aclosing(source.aiter_sse()) as events:
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    event = await anext(events, None)
            except TimeoutError as error:
                raise GenerationInterrupted(f"no text for {SILENCE_S:g} s") from error
            if event is None:
                return
            yield event


def _headers(completion: Completion) -> dict[str, str]:
    headers = {}
    if completion.session:
        headers["x-session-id"] = completion.session
    if completion.priority:
        headers["x-priority"] = str(completion.priority)
    return headers


def _body(completion: Completion) -> dict[str, Any]:
    """Return the request's JSON; neutral values are left out, so that any service takes it."""
    neutral = asdict(SamplingParams())
    prompt = completion.prompt
    return {
        **({"model": completion.model} if completion.model else {}),
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "max_tokens": completion.max_tokens,
        "temperature": completion.params.temperature,
        "stream": True,
        **({"stop": list(completion.stop)} if completion.stop else {}),
        **{k: v for k, v in asdict(completion.params).items() if v != neutral[k]},
    }


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Turn what a strange answer causes into an error of ours."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise GenerationInterrupted(f"{what}: not the answer of an OpenAI service") from error


def _delta(event: ServerSentEvent) -> Delta:
    with _understood("/v1/completions"):
        body = event.json()
        failed = body.get("error")
        if failed is None:
            first = (body.get("choices") or [{}])[0]
            text, reason = first.get("text") or "", first.get("finish_reason") or ""
            return Delta(str(text), str(reason), body.get("seed"))
        message = failed["message"] if isinstance(failed, dict) else failed
    raise _kind(failed, GenerationError)(str(message))


async def _check(answer: httpx.Response) -> None:
    """Raise the error that a status stands for."""
    if answer.is_success:
        return
    await answer.aread()
    status, header = answer.status_code, answer.headers.get("retry-after")
    kind = STATUSES.get(status, GenerationError if status >= 500 else GenerationRejected)
    try:
        said = answer.json()["error"]
        kind, message = _kind(said, kind), str(said["message"])
    except (ValueError, LookupError, TypeError):
        message = f"{answer.url.path}: status {status}"
    if kind is GenerationBusy:
        raise GenerationBusy(_seconds(header))
    error = kind(message)
    error.seconds = None if header is None else _seconds(header)
    raise error


def _kind(said: object, otherwise: type[GenerationError]) -> type[GenerationError]:
    """Return the error that a service's own words name; `otherwise` where they name none."""
    code = said.get("code") if isinstance(said, dict) else None
    return CODES.get(code, otherwise) if isinstance(code, str) else otherwise


def _seconds(header: str | None) -> float:
    try:
        seconds = float(header or DEFAULT_RETRY_S)
    except ValueError:  # a date: HTTP allows it, nobody sends it
        return DEFAULT_RETRY_S
    return min(max(seconds, 0.0), SILENCE_S) if math.isfinite(seconds) else DEFAULT_RETRY_S


# The first class that fits decides; a test checks that every class of httpx is covered.
TRANSLATION: tuple[tuple[type[Exception], type[GenerationError]], ...] = (
    (httpx.ConnectError, GenerationUnavailable),
    (httpx.ConnectTimeout, GenerationUnavailable),
    (httpx.PoolTimeout, GenerationUnavailable),
    (httpx.UnsupportedProtocol, GenerationRejected),
    (httpx.HTTPError, GenerationInterrupted),
    (httpx.InvalidURL, GenerationRejected),
    (httpx.CookieConflict, GenerationRejected),
    (httpx.StreamError, GenerationInterrupted),
    (SSEError, GenerationInterrupted),
)
