"""The client over a scripted transport: what it sends, and what it makes of what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import httpx
import pytest

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationInterrupted,
    GenerationRejected,
    GenerationUnavailable,
)
from kogpt_bot.generation import client as module
from kogpt_bot.generation.client import (
    TRANSLATION,
    Completion,
    Delta,
    GenerationClient,
    Health,
    ServedModel,
)
from kogpt_bot.generation.request import SamplingParams

SSE = {"content-type": "text/event-stream"}
Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, **arguments: str) -> GenerationClient:
    return GenerationClient("http://test", transport=httpx.MockTransport(handler), **arguments)


def answering(*args, **kwargs) -> GenerationClient:
    return client_of(lambda _request: httpx.Response(*args, **kwargs))


def sse(*bodies: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(body)}\n\n" for body in bodies]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def piece(text: str, reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason}]}


async def collect(client: GenerationClient, completion: Completion | None = None) -> list[Delta]:
    return [delta async for delta in client.stream(completion or Completion("가"))]


async def test_stream():
    last = {**piece("", "stop"), "seed": 4}
    client = answering(200, headers=SSE, content=sse(piece("안녕"), piece("!"), last))
    assert await collect(client) == [Delta("안녕"), Delta("!"), Delta("", "stop", 4)]


async def test_neutral_values_are_not_sent():
    sent: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, headers=SSE, content=sse(piece("", "stop")))

    client = client_of(handler, api_key="k")
    await collect(client, Completion((1, 2)))
    params = SamplingParams(temperature=0.5, top_k=5, seed=0, min_p=0.1)
    asked = Completion("가", params, 9, ("\n",), session="abc", priority=-3, model="m")
    await collect(client, asked)
    assert json.loads(sent[0].content) == {
        "prompt": [1, 2], "max_tokens": 128, "temperature": 1.0, "stream": True,
    }  # fmt: skip
    assert json.loads(sent[1].content) == {
        "model": "m", "prompt": "가", "max_tokens": 9, "temperature": 0.5, "stream": True,
        "stop": ["\n"], "top_k": 5, "seed": 0, "min_p": 0.1,
    }  # fmt: skip
    assert sent[1].headers["authorization"] == "Bearer k"
    assert sent[1].headers["x-session-id"] == "abc"
    assert sent[1].headers["x-priority"] == "-3"
    assert not {"x-session-id", "x-priority"} & set(sent[0].headers)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, GenerationRejected),
        (401, GenerationRejected),
        (404, GenerationRejected),
        (408, GenerationUnavailable),
        (413, GenerationRejected),
        (422, GenerationRejected),
        (425, GenerationUnavailable),
        (429, GenerationBusy),
        (500, GenerationError),
        (502, GenerationUnavailable),
        (503, GenerationUnavailable),
        (504, GenerationUnavailable),
        (302, GenerationRejected),
    ],
)
@pytest.mark.parametrize("content", [b"", b"<html>", b'{"error": {"message": "why"}}', b"[1]"])
async def test_each_status_is_an_error_of_ours(status, error, content):
    client = answering(status, content=content)
    with pytest.raises(GenerationError) as stream:
        await collect(client)
    assert type(stream.value) is error
    with pytest.raises(error):
        await client.model()
    if content.startswith(b"{") and status != 429:
        assert str(stream.value) == "why"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("1e9", 60.0), ("nan", 1.0), ("inf", 1.0),
     ("Tue, 24 Nov 2026 10:00:00 GMT", 1.0), (None, 1.0)],
)  # fmt: skip
async def test_retry_after(header, seconds):
    client = answering(429, headers={} if header is None else {"retry-after": header})
    with pytest.raises(GenerationBusy) as caught:
        await collect(client)
    assert caught.value.seconds == seconds


def foreign_errors() -> list[type[Exception]]:
    """Every class of exception that httpx has."""
    found = [value for value in vars(httpx).values() if isinstance(value, type)]
    return [each for each in found if issubclass(each, Exception)]


@pytest.mark.parametrize("foreign", foreign_errors(), ids=lambda each: each.__name__)
async def test_each_error_of_httpx_is_an_error_of_ours(foreign):
    assert any(issubclass(foreign, known) for known, _ in TRANSLATION)

    def handler(request: httpx.Request) -> httpx.Response:
        error = foreign.__new__(foreign)
        Exception.__init__(error, "broken")
        error._request = request
        raise error

    client = client_of(handler)
    for call in (collect(client), client.model(), client.tokenizer_json(), client.health()):
        with pytest.raises(GenerationError):
            await call


async def test_what_cannot_be_reached_is_unavailable():
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(GenerationUnavailable):
        await collect(client_of(handler))


@pytest.mark.parametrize(
    "content",
    [
        sse(piece("안"), done=False),
        sse(piece("안"), done=True),
        b"",
        b"data: {\n\n",
        b"data: 5\n\n",
        sse({"choices": ["x"]}),
        sse({"choices": [{"text": "a", "finish_reason": "stop"}], "error": {}}),
    ],
)
async def test_a_broken_stream(content):
    with pytest.raises(GenerationInterrupted):
        await collect(answering(200, headers=SSE, content=content))


async def test_an_answer_that_is_no_stream():
    with pytest.raises(GenerationInterrupted):
        await collect(answering(200, json=piece("안", "stop")))


@pytest.mark.parametrize("error", [{"message": "why"}, "why"])
async def test_an_error_in_the_stream(error):
    client = answering(200, headers=SSE, content=sse(piece("안"), {"error": error}, done=False))
    with pytest.raises(GenerationError, match="why"):
        await collect(client)


class Slow(httpx.AsyncByteStream):
    """A body that never ends; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield sse(piece("안"), done=False)
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed = True


async def test_closing_the_stream_closes_the_connection():
    body = Slow()
    async with aclosing(
        answering(200, headers=SSE, stream=body).stream(Completion("가"))
    ) as deltas:
        assert await anext(deltas) == Delta("안")
        assert not body.closed
    assert body.closed


async def test_cancelling_closes_the_connection():
    body = Slow()
    first = asyncio.Event()

    async def read() -> None:
        async for _ in answering(200, headers=SSE, stream=body).stream(Completion("가")):
            first.set()

    task = asyncio.create_task(read())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.closed


async def test_silence_in_the_middle(monkeypatch):
    monkeypatch.setattr(module, "SILENCE_S", 0.01)
    body = Slow()
    with pytest.raises(GenerationInterrupted, match="no text"):
        await collect(answering(200, headers=SSE, stream=body))
    assert body.closed


@pytest.mark.parametrize(
    ("card", "model"),
    [
        ({"id": "m", "max_model_len": 1024}, ServedModel("m", 1024)),
        ({"id": "m"}, ServedModel("m", None)),
    ],
)
async def test_model(card, model):
    assert await answering(200, json={"data": [card]}).model() == model


@pytest.mark.parametrize("content", [b"", b"[]", b'{"data": []}', b'{"data": [{}]}', b"5"])
async def test_a_strange_list_of_models(content):
    with pytest.raises(GenerationInterrupted):
        await answering(200, content=content).model()


async def test_tokenizer_json():
    assert await answering(200, content=b"{}").tokenizer_json() == b"{}"
    assert await answering(404).tokenizer_json() is None
    with pytest.raises(GenerationRejected):
        await answering(401).tokenizer_json()


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (httpx.Response(200), Health(ready=True)),  # vLLM
        (httpx.Response(500), Health(ready=False)),
        (
            httpx.Response(503, json={"ready": False, "loading": "weights", "progress": 0.5}),
            Health(ready=False, loading="weights", progress=0.5),
        ),
        (
            httpx.Response(200, json={"ready": True, "running": 1, "waiting": 2, "idle_s": 3.0}),
            Health(ready=True, running=1, waiting=2, idle_s=3.0),
        ),
    ],
)
async def test_health(answer, health):
    assert await client_of(lambda _request: answer).health() == health


async def test_a_closed_client_is_unavailable():
    client = answering(200)
    await client.close()
    for call in (collect(client), client.model(), client.tokenizer_json(), client.health()):
        with pytest.raises(GenerationUnavailable):
            await call
