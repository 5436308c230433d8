"""The client: every failure of the service becomes one of ours."""

import inspect
import json

import httpx
import pytest

from kogpt_bot import errors
from kogpt_bot.generation.client import TRANSLATION, Completion, GenerationClient
from kogpt_bot.generation.protocol import ApiError
from kogpt_bot.generation.request import SamplingParams


def client(handler):
    made = GenerationClient("http://service")
    made._http = httpx.AsyncClient(
        base_url="http://service", transport=httpx.MockTransport(handler)
    )
    return made


def sse(*events):
    body = "".join(f"data: {json.dumps(e) if isinstance(e, dict) else e}\n\n" for e in events)
    return httpx.Response(200, text=body, headers={"Content-Type": "text/event-stream"})


def piece(text, reason=None, **more):
    return {"choices": [{"text": text, "finish_reason": reason}], **more}


async def deltas(made, completion=Completion((1, 2))):
    return [each async for each in made.stream(completion)]


async def test_a_stream():
    seen = []

    def handler(request):
        seen.append((request.headers.get("x-session-id"), json.loads(request.content)))
        return sse(piece("안"), piece("녕", "stop", seed=5), "[DONE]")

    params = SamplingParams(temperature=0.5, top_k=9, seed=5)
    asked = Completion((1, 2), params, max_tokens=7, stop=("\n민수:",), session="s1")
    found = await deltas(client(handler), asked)
    assert [(d.text, d.finish_reason, d.seed) for d in found] == [
        ("안", "", None),
        ("녕", "stop", 5),
    ]
    session, body = seen[0]
    assert session == "s1"
    assert body["prompt"] == [1, 2]
    assert (body["top_k"], body["seed"], body["stop"]) == (9, 5, ["\n민수:"])
    assert "min_p" not in body  # neutral values are left out: any service takes the request


STATUSES = [
    (400, errors.GenerationRejected),
    (401, errors.GenerationRejected),
    (404, errors.GenerationRejected),
    (429, errors.GenerationBusy),
    (500, errors.GenerationError),
    (502, errors.GenerationUnavailable),
    (503, errors.GenerationUnavailable),
    (504, errors.GenerationUnavailable),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_each_status_is_an_error_of_ours(status, kind):
    def handler(_request):
        return httpx.Response(
            status, json={"error": {"message": "why"}}, headers={"Retry-After": "3"}
        )

    with pytest.raises(kind) as error:
        await deltas(client(handler))
    if status == 429:
        assert error.value.seconds == 3
    else:
        assert "why" in str(error.value)


CODES = [
    (503, "out_of_memory", errors.GenerationOutOfMemory),
    (504, "deadline_exceeded", errors.GenerationExpired),
    (503, "loading", errors.GenerationUnavailable),
    (504, None, errors.GenerationUnavailable),
    (503, 503, errors.GenerationUnavailable),  # vLLM's
    (503, ["?"], errors.GenerationUnavailable),
]


@pytest.mark.parametrize(("status", "code", "kind"), CODES)
async def test_a_code_says_more_than_a_status(status, code, kind):
    def handler(_request):
        return httpx.Response(status, json={"error": {"message": "why", "code": code}})

    with pytest.raises(errors.GenerationError, match="why") as error:
        await deltas(client(handler))
    assert type(error.value) is kind


@pytest.mark.parametrize("code", ["out_of_memory", "deadline_exceeded", "unheard of"])
async def test_a_code_in_the_stream_says_the_same(code):
    kinds = {code: kind for _, code, kind in CODES if isinstance(code, str)}
    failed = {"error": {"message": "why", "code": code}}
    with pytest.raises(errors.GenerationError, match="why") as error:
        await deltas(client(lambda _: sse(piece("안"), failed)))
    assert type(error.value) is kinds.get(code, errors.GenerationError)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), (None, None), ("soon", 1.0)])
@pytest.mark.parametrize("code", ["out_of_memory", "loading"])
async def test_what_is_unavailable_may_say_when_to_come_back(header, seconds, code):
    headers = {} if header is None else {"Retry-After": header}

    def handler(_request):
        body = {"error": {"message": "why", "code": code}}
        return httpx.Response(503, json=body, headers=headers)

    with pytest.raises(errors.GenerationError) as error:
        await deltas(client(handler))
    assert error.value.seconds == seconds


async def test_each_error_of_the_service_is_the_same_to_its_client():
    """What `ApiError` makes of an error of the engine, the client makes that error of again."""
    sent = [
        errors.GenerationRejected("x"), errors.GenerationBusy(2.0), errors.GenerationError("x"),
        errors.GenerationOutOfMemory("x"), errors.GenerationExpired("x"),
        errors.GenerationUnavailable("x"),
    ]  # fmt: skip
    for each in sent:
        shaped = ApiError.of(each)
        answer = httpx.Response(shaped.status, json=shaped.body, headers=shaped.headers)
        with pytest.raises(errors.GenerationError) as found:
            await deltas(client(lambda _, answer=answer: answer))
        assert type(found.value) is type(each)
        if isinstance(each, errors.GenerationRejected | errors.GenerationBusy):
            continue  # these are said before a stream begins
        with pytest.raises(errors.GenerationError) as found:
            await deltas(client(lambda _, body=shaped.body: sse(piece("안"), body)))
        assert type(found.value) is type(each)


def raised_by_httpx():
    found = [
        each
        for _, each in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(each, Exception)
    ]
    assert len(found) > 20
    return found


@pytest.mark.parametrize("kind", raised_by_httpx(), ids=lambda kind: kind.__name__)
def test_every_exception_of_httpx_is_in_the_table(kind):
    if kind in (httpx.CookieConflict,):  # no cookies are used
        return
    assert any(issubclass(kind, foreign) for foreign, _ in TRANSLATION)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("x"), errors.GenerationUnavailable),
        (httpx.ReadTimeout("x"), errors.GenerationInterrupted),
        (httpx.RemoteProtocolError("x"), errors.GenerationInterrupted),
    ],
)
async def test_what_the_network_does_is_translated(raised, kind):
    def handler(_request):
        raise raised

    with pytest.raises(kind):
        await deltas(client(handler))


async def test_a_stream_that_ends_in_the_middle_is_interrupted():
    with pytest.raises(errors.GenerationInterrupted):
        await deltas(client(lambda _: sse(piece("안"))))


async def test_an_error_inside_the_stream_is_raised():
    with pytest.raises(errors.GenerationError, match="the computation failed"):
        await deltas(
            client(lambda _: sse(piece("안"), {"error": {"message": "the computation failed"}}))
        )


async def test_health_of_ours_and_of_others():
    ours = {"ready": False, "loading": "weights", "progress": 0.4}
    found = await client(lambda _: httpx.Response(503, json=ours)).health()
    assert (found.ready, found.loading, found.progress) == (False, "weights", 0.4)
    assert (await client(lambda _: httpx.Response(200, text="")).health()).ready


async def test_a_service_without_a_tokenizer():
    made = client(lambda _: httpx.Response(404, json={"detail": "Not Found"}))
    assert await made.tokenizer_json() is None
