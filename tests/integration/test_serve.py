"""`kogpt-bot serve` with OpenAI's own client, over TCP."""

import concurrent.futures
import json
import signal
import socket
import subprocess
import sys
import time

import httpx
import openai
import pytest

KEY = "a-key-for-the-test"


@pytest.fixture(scope="module")
def service(tiny_model, tmp_path_factory):
    """Start the service once; give its base URL."""
    import os

    folder = tmp_path_factory.mktemp("service")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "kogpt_bot", "serve", "--model", str(tiny_model), "--device", "cpu",
         "--port", str(port), "--api-key-env", "TEST_KEY", "--kv-cache-gib", "0.01"],
        env={**os.environ, "TEST_KEY": KEY, "XDG_STATE_HOME": str(folder)},
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health").json()["ready"]:
                break
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0


@pytest.fixture
def client(service):
    with openai.OpenAI(base_url=f"{service}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def model(client):
    return client.models.list().data[0].id


def test_a_completion(client, model):
    answer = client.completions.create(
        model=model, prompt="안녕하세요", max_tokens=8, temperature=0
    )
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens <= 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_the_same_text(client, model):
    asked = {"model": model, "prompt": "오늘 뭐", "max_tokens": 20, "seed": 5}
    whole = client.completions.create(**asked).choices[0].text
    pieces = list(
        client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(p.choices[0].text for p in pieces if p.choices) == whole
    assert pieces[-1].usage.completion_tokens <= 20
    assert pieces[-2].choices[0].finish_reason


def test_a_seed_is_reproducible_and_another_one_differs(client, model):
    def text(seed):
        return client.completions.create(
            model=model, prompt="민수:", max_tokens=24, seed=seed, temperature=1.5
        ).choices[0].text  # fmt: skip

    assert text(7) == text(7)
    assert text(7) != text(8)


def test_stop_echo_n_and_log_probabilities(client, model):
    asked = {"model": model, "prompt": "가나", "max_tokens": 100, "temperature": 1.5, "seed": 3}
    text = client.completions.create(**asked).choices[0].text
    stop = text[3:5]
    assert len(stop) == 2  # a random model writes many bytes that are no character
    stopped = client.completions.create(**asked, stop=[stop])
    assert stopped.choices[0].text == text[: text.index(stop)]
    echoed = client.completions.create(
        model=model, prompt="가나", max_tokens=2, temperature=0, echo=True, logprobs=2, n=2
    )
    assert len(echoed.choices) == 2
    scores = echoed.choices[0].logprobs
    assert echoed.choices[0].text.startswith("가나")
    assert scores.token_logprobs[0] is None
    assert all(value <= 0 for value in scores.token_logprobs[1:])
    assert len(scores.tokens) == len(scores.text_offset) == len(scores.top_logprobs)


def test_token_ids_and_several_prompts(client, model, service):
    ids = httpx.post(
        f"{service}/tokenize", json={"prompt": "안녕"}, headers={"Authorization": f"Bearer {KEY}"}
    ).json()["tokens"]
    by_ids = client.completions.create(model=model, prompt=ids, max_tokens=5, temperature=0)
    by_text = client.completions.create(
        model=model, prompt=["안녕", "가"], max_tokens=5, temperature=0
    )
    assert by_ids.choices[0].text == by_text.choices[0].text
    assert len(by_text.choices) == 2


def test_hanging_up_cancels(client, model, service):
    stream = client.completions.create(
        model=model, prompt="가", max_tokens=240, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if httpx.get(f"{service}/health").json()["running"] == 0:
            break
        time.sleep(0.05)
    assert httpx.get(f"{service}/health").json()["running"] == 0


def test_many_at_once(client, model):
    def ask(number):
        return client.completions.create(
            model=model, prompt=f"{number}번", max_tokens=10, seed=number
        ).choices[0].text  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, range(32)))
    assert together[:5] == [ask(number) for number in range(5)]


BAD = [
    ({"temperature": -1}, "temperature"),
    ({"temperature": 9}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"best_of": 3}, "best_of"),
    ({"logprobs": 21}, "logprobs"),
    ({"seed": -1}, "seed"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["x"] * 33}, "stop"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [1, "a"]}, "prompt"),
    ({"prompt": [99999]}, "prompt"),
    ({"prompt": "가" * 3000}, "prompt"),
    ({"suffix": "x"}, "suffix"),
    ({"extra_body": {"top_k": 1.5}}, "top_k"),
    ({"extra_body": {"min_p": 2}}, "min_p"),
    ({"extra_body": {"typical_p": 0}}, "typical_p"),
    ({"extra_body": {"repetition_penalty": 0}}, "repetition_penalty"),
    ({"extra_body": {"no_repeat_ngram_size": -2}}, "no_repeat_ngram_size"),
    ({"extra_body": {"max_tokens": True}}, "max_tokens"),
    ({"extra_body": {"tempratur": 1}}, "tempratur"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[f"{p}-{n}" for n, (_, p) in enumerate(BAD)])
def test_a_bad_parameter_is_named(client, model, fields, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(**({"model": model, "prompt": "가"} | fields))
    assert error.value.param == param
    assert "\n" not in error.value.body["message"]


def test_an_unknown_model_and_a_wrong_key(client, service, model):
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-4", prompt="가")
    other = openai.OpenAI(base_url=f"{service}/v1", api_key="wrong", max_retries=0)
    with other, pytest.raises(openai.AuthenticationError):
        other.models.list()
    assert httpx.post(f"{service}/v1/completions", content=b"nonsense").status_code == 401


def test_metrics_and_a_body_that_is_too_large(service):
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{service}/metrics").status_code == 401
    text = httpx.get(f"{service}/metrics", headers=headers).text
    assert "kogpt_generated_tokens_total" in text
    big = httpx.post(f"{service}/v1/completions", content=b"x" * (5 << 20), headers=headers)
    assert big.status_code == 413


def test_the_cache_has_the_size_that_was_asked_for(service, tiny_model):
    text = httpx.get(f"{service}/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
    held = next(
        each for each in text.splitlines() if each.startswith("kogpt_cache_capacity_tokens")
    )
    config = json.loads((tiny_model / "config.json").read_text())
    a_block = 16 * 2 * config["n_layer"] * config["n_embd"] * 4  # bytes, in float32
    assert float(held.split()[1]) == int(0.01 * 2**30) // a_block * 16


def test_other_machines_are_not_served_without_a_key(command):
    done = command("serve", "--host", "0.0.0.0")
    assert done.returncode == 78
    assert "no API key is set" in done.stderr
    assert "Traceback" not in done.stderr
