"""The HTTP API over a fake engine, without sockets."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Scope

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationOutOfMemory,
    GenerationRejected,
)
from kogpt_bot.generation.api import MAX_BODY_BYTES, Service, make_app
from tests.fakes.fake_engine import FakeEngine, FakeInfo


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def service(engine: FakeEngine) -> Service:
    return Service(engine=engine)


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(service), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def post(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/v1/completions", json={"prompt": "가", **body})


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


async def test_completion_has_openais_shape(http, engine):
    answer = await post(http, max_tokens=3, seed=7)
    body = answer.json()
    assert answer.status_code == 200
    assert body["object"] == "text_completion"
    assert body["model"] == "fakes/fake"
    assert body["choices"] == [
        {"index": 0, "text": "안녕하", "logprobs": None, "finish_reason": "length"}
    ]
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    assert body["seed"] == 7


async def test_default_length_is_openais(http, engine):
    await post(http)
    assert engine.requests[0].max_tokens == 16


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("가나", [(0xAC00, 0xB098)]),
        ([5, 6], [(5, 6)]),
        (["가", "나"], [(0xAC00,), (0xB098,)]),
        ([[5], [6, 7]], [(5,), (6, 7)]),
        ("", [(1,)]),
    ],
)
async def test_each_kind_of_prompt(http, engine, prompt, ids):
    answer = await post(http, prompt=prompt)
    assert answer.status_code == 200
    assert [request.prompt_ids for request in engine.requests] == ids
    assert [each["index"] for each in answer.json()["choices"]] == list(range(len(ids)))


async def test_parameters_reach_the_engine(http, engine):
    given = {
        "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "typical_p": 0.8,
        "repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "no_repeat_ngram_size": 3, "seed": 11,
    }  # fmt: skip
    answer = await http.post(
        "/v1/completions",
        json={
            "prompt": "가", "stop": ["\n철수:"], "ignore_eos": True, "user": "u",
            "include_stop_str_in_output": True, "n": 2, **given,
        },
        headers={"x-session-id": "abc"},
    )  # fmt: skip
    assert answer.status_code == 200
    first, second = engine.requests
    assert {name: getattr(first.params, name) for name in given} == given
    assert (first.stop, first.include_stop, first.ignore_eos) == (("\n철수:",), True, True)
    assert first.channel == "abc"
    assert second.params.seed == 12  # each choice has a seed of its own


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"typical_p": 0}, "typical_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": 16, "prompt": ["가"] * 5}, "n"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 33}, "stop"),
        ({"stop": "a" * 257}, "stop"),
        ({"stop": 5}, "stop"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[5], []]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": ["가", 5]}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logit_bias": {"5": 1.0}}, "logit_bias"),
        ({"top_n_sigma": 1}, "top_n_sigma"),
    ],
)
async def test_a_wrong_parameter_is_named(http, engine, body, param):
    answer = await post(http, **body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{param}: ")
    assert set(error) == {"message", "type", "param", "code"}
    assert not engine.requests


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_only_finite_numbers(http, number):
    answer = await http.post(
        "/v1/completions", content=f'{{"prompt": "a", "temperature": {number}}}'
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "temperature"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"prompt": "\xff"}', b"[" * 100_000])
async def test_a_body_that_is_no_request(http, content):
    answer = await http.post("/v1/completions", content=content)
    assert answer.status_code == 400
    assert "message" in answer.json()["error"]


async def test_nothings_that_clients_send_are_taken(http):
    nothing: dict[str, Any] = {
        "suffix": None,
        "best_of": 1,
        "logit_bias": {},
        "logprobs": None,
        "stop": None,
    }
    assert (await post(http, **nothing)).status_code == 200


async def test_a_large_body_is_refused(http):
    answer = await http.post("/v1/completions", content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_prompt_over_the_context(http):
    answer = await post(http, prompt="가" * 64)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert "at most 63" in error["message"]


async def test_logprobs_shape(http):
    body = (await post(http, max_tokens=2, logprobs=1)).json()
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["안", "녕"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"안": -0.5}, {"녕": -0.5}],
        "text_offset": [0, 1],
    }


async def test_stream(http):
    answer = await post(http, stream=True, stream_options={"include_usage": True}, seed=3)
    told = events(answer)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "".join(c["text"] for event in told for c in event["choices"]) == "안녕하세요"
    assert told[-2]["choices"][0]["finish_reason"] == "stop"
    assert told[-2]["seed"] == 3
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["completion_tokens"] == 5


async def test_stream_of_several_choices(http):
    told = events(await post(http, stream=True, n=3))
    texts = ["", "", ""]
    for event in told:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == ["안녕하세요"] * 3


async def test_deltas_are_coalesced_and_the_first_is_not_kept(http, engine):
    engine.text = "가" * 200
    engine.info = FakeInfo(context_length=1000)
    told = events(await post(http, stream=True, max_tokens=200))
    texts = [event["choices"][0]["text"] for event in told]
    assert "".join(texts) == "가" * 200
    assert len(texts[0]) <= 3
    assert len(texts) <= 4  # without coalescing: 201


async def test_who_waits_for_a_whole_answer_is_told_its_beginning_and_its_end(http, engine):
    await post(http, stream=True)
    await post(http)
    streamed, whole = (each.interval_s for each in engine.requests)
    assert 0.01 <= streamed <= 0.1  # seconds: a reader sees no difference
    assert whole == math.inf


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "type_"),
    [
        (GenerationRejected("prompt has 5"), 400, "invalid_request_error"),
        (GenerationBusy(2.0), 429, "rate_limit_error"),
        (GenerationError("failed"), 500, "server_error"),
        (RuntimeError("secret"), 500, "server_error"),
    ],
)
async def test_failures_before_the_first_text(http, engine, stream, error, status, type_):
    engine.error = error
    answer = await post(http, stream=stream)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == type_
    assert "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("2" if status == 429 else None)


@pytest.mark.parametrize("error", [GenerationError("failed"), RuntimeError("secret")])
async def test_a_failure_in_mid_stream_is_an_event(http, engine, error):
    engine.error, engine.fail_at = error, 3
    async with asyncio.timeout(5):
        answer = await post(http, stream=True)
    last = [line for line in answer.text.split("\n\n") if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert "secret" not in answer.text


async def test_one_failing_choice_cancels_the_others(http, engine):
    engine.hang_at = 0
    engine.busy_prompt = (ord("나"),)
    async with asyncio.timeout(5):
        answer = await post(http, prompt=["가", "나"])
    assert answer.status_code == 429
    assert engine.ended == engine.cancelled == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hang_at", [0, 2])
async def test_a_client_that_hangs_up_cancels(service, engine, stream, hang_at):
    engine.hang_at = hang_at
    body = json.dumps({"prompt": "가", "stream": stream}).encode()
    inbound: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if inbound:
            return inbound.pop(0)
        await engine.started.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        pass

    scope: Scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "raw_path": b"",
        "query_string": b"", "headers": [], "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1),
        "root_path": "",
    }  # fmt: skip
    async with asyncio.timeout(5):
        await make_app(service)(scope, receive, send)
        while engine.cancelled == 0:
            await asyncio.sleep(0)
    assert engine.cancelled == engine.ended == 1


async def test_while_loading(http, service):
    service.engine, service.loading, service.share = None, "weights", 0.25
    health = await http.get("/health")
    assert health.status_code == 503
    assert health.json() == {"live": True, "ready": False, "loading": "weights", "progress": 0.25}
    answer = await post(http)
    assert answer.status_code == 503
    assert "weights" in answer.json()["error"]["message"]
    assert (await http.get("/metrics")).status_code == 200


async def test_health(http):
    body = (await http.get("/health")).json()
    assert (body["ready"], body["running"], body["waiting"]) == (True, 0, 0)


async def test_an_engine_that_has_ended_is_not_ready(http, engine):
    engine.alive = False
    health = await http.get("/health")
    assert health.status_code == 503
    assert (health.json()["live"], health.json()["ready"]) == (False, False)
    assert "kogpt_ready 0.0" in (await http.get("/metrics")).text


async def test_models(http):
    body = (await http.get("/v1/models")).json()
    assert body["data"][0]["id"] == "fakes/fake"
    assert body["data"][0]["max_model_len"] == 64
    assert (await http.get("/v1/models/fakes/fake")).json()["id"] == "fakes/fake"
    assert (await http.get("/v1/models/other")).status_code == 404


@pytest.mark.parametrize(
    ("model", "status"), [("fakes/fake", 200), ("fake", 200), (None, 200), ("other", 404)]
)
async def test_the_model_of_a_request(http, model, status):
    answer = await post(http, model=model)
    assert answer.status_code == status
    if status == 404:
        assert answer.json()["error"]["code"] == "model_not_found"


async def test_tokenize_and_back(http):
    ids = (await http.post("/tokenize", json={"prompt": "가나"})).json()
    assert ids == {"tokens": [0xAC00, 0xB098], "count": 2, "max_model_len": 64}
    text = (await http.post("/detokenize", json={"tokens": ids["tokens"]})).json()
    assert text == {"prompt": "가나"}


@pytest.mark.parametrize("tokens", [[-1], [True], ["5"], [0x110000], [2**40], 5])
async def test_detokenize_refuses(http, tokens):
    answer = await http.post("/detokenize", json={"tokens": tokens})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tokens"


async def test_tokenizer_file(http):
    assert (await http.get("/tokenizer.json")).text == '{"fake": true}'


async def test_metrics(http):
    text = (await http.get("/metrics")).text
    assert "kogpt_ready 1.0" in text
    assert "kogpt_generated_tokens_total 4.0" in text


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer right", 200),
        ("bearer right", 200),
        ("Bearer wrong", 401),
        ("Bearer righ", 401),
        ("right", 401),
        ("Basic right", 401),
        ("", 401),
        ("Bearer ", 401),
    ],
)
async def test_the_key(http, service, header, status):
    service.api_key = "right"
    headers = {"authorization": header}
    for path in ("/v1/models", "/tokenizer.json", "/metrics"):
        assert (await http.get(path, headers=headers)).status_code == status
    answer = await http.post("/v1/completions", json={"prompt": "가"}, headers=headers)
    assert answer.status_code == status
    assert (await http.get("/health")).status_code == 200  # for load balancers


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/completions", 405)]
)
async def test_unknown_paths_have_openais_shape(http, method, path, status):
    answer = await http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("deadline", "status"), [("2.5", 200), ("x", 400), ("0", 400), ("nan", 400), ("1e9", 400)]
)
async def test_deadline_header(http, engine, deadline, status):
    answer = await http.post(
        "/v1/completions", json={"prompt": "가"}, headers={"x-deadline-s": deadline}
    )
    assert answer.status_code == status
    assert [request.deadline_s for request in engine.requests] == ([2.5] if status == 200 else [])


async def test_a_salt_reaches_the_engine(http, engine):
    await http.post("/v1/completions", json={"prompt": "가", "cache_salt": "tenant"})
    assert [request.cache_salt for request in engine.requests] == ["tenant"]


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (GenerationBusy(7.2), 429, "queue_full", "7"),
        (GenerationOutOfMemory("memory"), 503, "out_of_memory", "1"),
        (GenerationExpired("late"), 504, "deadline_exceeded", None),
        (GenerationError("broken"), 500, None, None),
    ],
    ids=repr,
)
async def test_what_the_engine_refuses_has_openais_shape(http, engine, error, status, code, retry):
    engine.error = error
    answer = await http.post("/v1/completions", json={"prompt": "가", "max_tokens": 3})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("retry-after") == retry


async def test_metrics_have_histograms_and_the_hit_ratio(http):
    text = (await http.get("/metrics")).text
    assert 'kogpt_token_gap_seconds_bucket{le="0.01"} 1.0' in text
    assert "kogpt_token_gap_seconds_count 3.0" in text
    assert f"kogpt_cache_hit_ratio {2 / 7}" in text
    assert "kogpt_cache_evictions_total 0.0" in text


@pytest.mark.parametrize(("priority", "status"), [("5", 200), ("x", 400), ("101", 400)])
async def test_priority_header(http, engine, priority, status):
    answer = await http.post(
        "/v1/completions", json={"prompt": "가"}, headers={"x-priority": priority}
    )
    assert answer.status_code == status
    assert [request.priority for request in engine.requests] == ([5] if status == 200 else [])
