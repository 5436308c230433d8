"""The only way the daemon talks to a generation service: ours, or any OpenAI-compatible one."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
from httpx_sse import SSEError, aconnect_sse

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationInterrupted,
    GenerationRejected,
    GenerationUnavailable,
)
from kogpt_bot.generation.request import SamplingParams

CONNECT_S = 5.0
SILENCE_S = 60.0  # between two pieces of a stream; a long prompt on a CPU takes a while to read
DEFAULT_RETRY_S = 1.0


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


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a service can answer; `loading` and `progress` while it cannot yet."""

    ready: bool
    loading: str = ""
    progress: float = 1.0
    running: int = 0
    waiting: int = 0
    idle_s: float = 0.0


class GenerationClient:
    """A connection to one service, over TCP or a Unix socket. Close it at the end.

    Every method raises the subclasses of GenerationError and nothing else.
    """

    def __init__(self, base_url: str, *, uds: str | None = None, api_key: str = "") -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=httpx.AsyncHTTPTransport(uds=uds) if uds else None,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=300, max_keepalive_connections=20),
            trust_env=uds is None,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def stream(self, completion: Completion) -> AsyncGenerator[Delta, None]:
        """Stream a continuation; closing the generator cancels it at the service."""
        headers = {"x-session-id": completion.session} if completion.session else {}
        body = _body(completion)
        ended = False
        async with (
            _translated(),
            aconnect_sse(
                self._http, "POST", "/v1/completions", json=body, headers=headers
            ) as source,
        ):
            await _check(source.response)
            async with aclosing(source.aiter_sse()) as events:
                async for event in events:
                    if event.data == "[DONE]":
                        return
                    delta = _delta(event.json())
                    ended = ended or bool(delta.finish_reason)
                    yield delta
        if not ended:
            raise GenerationInterrupted("the stream ended in the middle")

    async def model(self) -> ServedModel:
        """Return the (first) model that is served."""
        card = (await self._get("/v1/models")).json()["data"][0]
        return ServedModel(str(card["id"]), card.get("max_model_len"))

    async def tokenizer_json(self) -> bytes | None:
        """Return the serving model's own tokenizer; None from a service that does not give it."""
        try:
            return (await self._get("/tokenizer.json")).content
        except GenerationRejected:
            return None

    async def health(self) -> Health:
        """Return whether the service can answer."""
        async with _translated():
            answer = await self._http.get("/health", timeout=CONNECT_S)
            try:
                body = answer.json()
            except ValueError:
                body = {}  # vLLM answers with an empty body
        if not isinstance(body, dict) or "ready" not in body:
            return Health(ready=answer.is_success)
        return Health(
            ready=bool(body["ready"]),
            loading=str(body.get("loading") or ""),
            progress=float(body.get("progress", 1.0)),
            running=int(body.get("running", 0)),
            waiting=int(body.get("waiting", 0)),
            idle_s=float(body.get("idle_s", 0.0)),
        )

    async def _get(self, path: str) -> httpx.Response:
        async with _translated():
            answer = await self._http.get(path)
            await _check(answer)
            return answer


def _body(completion: Completion) -> dict[str, Any]:
    """Return the request's JSON; neutral values are left out, so that any service takes it."""
    neutral = asdict(SamplingParams())
    extras = {k: v for k, v in asdict(completion.params).items() if v != neutral[k]}
    if completion.priority:
        extras["priority"] = completion.priority
    prompt = completion.prompt
    return {
        "model": completion.model or None,
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "max_tokens": completion.max_tokens,
        "temperature": completion.params.temperature,
        "stream": True,
        **({"stop": list(completion.stop)} if completion.stop else {}),
        **extras,
    }


def _delta(event: dict[str, Any]) -> Delta:
    if "error" in event:
        raise GenerationError(str(event["error"].get("message", "the service failed")))
    choices = event.get("choices") or [{}]
    return Delta(
        str(choices[0].get("text") or ""),
        str(choices[0].get("finish_reason") or ""),
        event.get("seed"),
    )


async def _check(answer: httpx.Response) -> None:
    """Raise the error that a status stands for."""
    if answer.is_success:
        return
    await answer.aread()
    try:
        message = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"status {answer.status_code}"
    if answer.status_code == 429:
        raise GenerationBusy(_seconds(answer.headers.get("retry-after")))
    if answer.status_code in (502, 503, 504):
        raise GenerationUnavailable(message)
    if answer.status_code >= 500:
        raise GenerationError(message)
    raise GenerationRejected(message)


def _seconds(header: str | None) -> float:
    try:
        return min(max(float(header or DEFAULT_RETRY_S), 0.0), SILENCE_S)
    except ValueError:  # a date: HTTP allows it, nobody sends it
        return DEFAULT_RETRY_S


# The first class that fits decides; a test checks that every class of httpx is covered.
TRANSLATION: tuple[tuple[type[Exception], type[GenerationError]], ...] = (
    (httpx.ConnectError, GenerationUnavailable),
    (httpx.ConnectTimeout, GenerationUnavailable),
    (httpx.PoolTimeout, GenerationUnavailable),
    (httpx.UnsupportedProtocol, GenerationRejected),
    (httpx.TransportError, GenerationInterrupted),
    (httpx.InvalidURL, GenerationRejected),
    (httpx.HTTPError, GenerationInterrupted),
    (httpx.StreamError, GenerationInterrupted),
    (SSEError, GenerationInterrupted),
    (json.JSONDecodeError, GenerationInterrupted),
    (KeyError, GenerationInterrupted),
)


@asynccontextmanager
async def _translated() -> AsyncGenerator[None, None]:
    """Turn what httpx raises into our errors."""
    try:
        yield
    except tuple(foreign for foreign, _ in TRANSLATION) as error:
        ours = next(ours for foreign, ours in TRANSLATION if isinstance(error, foreign))
        raise ours(f"{type(error).__name__}: {error}".rstrip(": ")) from error
