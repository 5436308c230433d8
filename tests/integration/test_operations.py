"""The operator's side of a whole daemon: the console, reloads, a stop; the model is scripted."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import re
import socket

import httpx
import pytest
import yaml

from kogpt_bot.console import client
from kogpt_bot.errors import NotRunning
from kogpt_bot.ops import logging as logs
from tests.fakes.daemon import daemon, fake_engine, generation_service
from tests.unit.config.test_fuzz import FULL, mutate
from tests.unit.ops.test_redact import root  # noqa: F401  # a fixture

SECRET = "operator-secret-42"


@pytest.fixture
async def service():
    """Give the URL of a service that answers at once."""
    async with generation_service(fake_engine()) as url:
        yield url


def text(folder, url, **more):
    """Return a configuration."""
    return json.dumps(
        {
            "data_dir": str(folder / "data"),
            "generation": {"url": url},
            "adapters": {"web": {"port": 0}},
            "console": {"port": 0},
            "limits": {"burst_window_s": 0},
            "logging": {"level": "debug"},
            **more,
        }
    )


@pytest.fixture
def pipeline(root):  # noqa: F811
    output = io.StringIO()
    pipeline = logs.configure("debug", "json", output)
    pipeline.events = lambda: [json.loads(line) for line in output.getvalue().splitlines()]
    return pipeline


def console_url(pipeline):
    return next(e["url"] for e in pipeline.events() if e["event"] == "console_listens")


async def listening(pipeline):
    async with asyncio.timeout(10):
        while not any(e["event"] == "console_listens" for e in pipeline.events()):
            await asyncio.sleep(0.005)
    return console_url(pipeline)


async def say(running, words, room="r", id_="m1"):
    """Post a message to the page; return the answer."""
    web = running.adapters["web"]._adapter
    async with httpx.AsyncClient(base_url=web.url, timeout=20) as page:
        async with page.stream("GET", f"/api/rooms/{room}/events") as stream:
            rows = stream.aiter_lines()
            await anext(rows)
            body = {"id": id_, "author": {"id": "u", "name": "민수"}, "text": words}
            assert (await page.post(f"/api/rooms/{room}/messages", json=body)).status_code == 202
            async for row in rows:
                message = json.loads(row[6:]).get("message", {}) if row[:5] == "data:" else {}
                if message.get("bot") and message["final"]:
                    return message["text"]
    raise AssertionError("no answer")


async def web_up(running):
    async with asyncio.timeout(10):
        while running.adapters["web"]._adapter.url.endswith(":0"):
            await asyncio.sleep(0.005)


async def test_what_the_operator_sees(tmp_path, service, pipeline):
    async with daemon(tmp_path, text(tmp_path, service), pipeline) as under_test:
        await web_up(under_test.running)
        assert await say(under_test.running, "비밀스러운 말") == "네, 안녕하세요!"
        async with httpx.AsyncClient(base_url=await listening(pipeline)) as console:
            assert (await console.get("/health/live")).json() == {"live": True}
            ready = await console.get("/health/ready")
            assert (ready.status_code, ready.json()) == (200, {"ready": True, "not_ready": {}})
            health = (await console.get("/health")).json()
            assert set(health["parts"]) == {"store", "generation", "adapter web"}
            figures = (await console.get("/metrics")).text
            page = await console.get("/")
            assert "script-src 'self'" in page.headers["content-security-policy"]
            assert (await console.get("/static/console.js")).status_code == 200
            assert (await console.get("/log")).status_code == 404  # the port is no way to it
            wrong = await console.get("/health", headers={"host": "evil.example"})
            assert wrong.status_code == 400
    for line in (
        'kogpt_bot_messages_total{adapter="web",outcome="answered"} 1.0',
        'kogpt_bot_turns_total{adapter="web",state="replied"} 1.0',
        'kogpt_bot_platform_calls_total{adapter="web",call="send",outcome="ok"} 1.0',
        'kogpt_bot_adapter_ready{adapter="web"} 1.0',
        "kogpt_bot_generation_ready 1.0",
        "kogpt_bot_waiting_turns 0.0",
        "kogpt_generated_tokens_total 4.0",  # the service's own
    ):
        assert line in figures.splitlines()
    names = re.findall(r"^# TYPE (\S+)", figures, re.MULTILINE)
    assert len(names) == len(set(names))
    said = json.dumps(pipeline.events(), ensure_ascii=False)
    assert "비밀스러운" not in said
    assert "안녕하세요" not in said
    assert "민수" not in said


async def test_status_and_tail_over_the_socket(tmp_path, service, pipeline):
    folder = tmp_path / "data"
    async with daemon(tmp_path, text(tmp_path, service), pipeline) as under_test:
        await web_up(under_test.running)
        assert folder.joinpath("control.sock").stat().st_mode & 0o777 == 0o600
        found = await asyncio.to_thread(client.status, folder)
        shown = client.as_text(found)
        assert "✓ adapter web running" in shown
        assert "0 answers are being written, 0 wait" in shown
        lines = client.tail(folder, 3)
        first = await asyncio.to_thread(next, lines)
        assert json.loads(first)["event"] in client.line_as_text(first)
        under_test.signals.stop.set()
        rest = await asyncio.to_thread(list, lines)
        assert any("stopping" in line for line in rest)  # and it ended with the daemon
    with pytest.raises(NotRunning, match="no kogpt-bot runs with data_dir"):
        client.status(folder)
    with pytest.raises(NotRunning, match="no kogpt-bot runs"):
        list(client.tail(folder, 3))


async def test_a_long_data_dir_has_its_socket_elsewhere(tmp_path, service, pipeline):
    folder = tmp_path / ("긴" * 40)
    folder.mkdir()
    async with daemon(folder, text(folder, service), pipeline):
        async with asyncio.timeout(10):
            while not (folder / "data" / "control.sock").is_symlink():
                await asyncio.sleep(0.005)
        assert (await asyncio.to_thread(client.status, folder / "data"))["pid"]
    assert not (folder / "data" / "control.sock").is_symlink()


async def test_with_a_token_only_who_has_it_may_look(tmp_path, service, pipeline, monkeypatch):
    monkeypatch.setenv("CONSOLE_TOKEN", SECRET)
    console = {"port": 0, "token_env": "CONSOLE_TOKEN"}
    async with daemon(tmp_path, text(tmp_path, service, console=console), pipeline):
        async with httpx.AsyncClient(base_url=await listening(pipeline)) as asked:
            assert (await asked.get("/health/live")).status_code == 200
            for path in ("/", "/health", "/metrics", "/status", "/static/console.js"):
                refused = await asked.get(path)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"].startswith("Basic")
            basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
            for header in (f"Bearer {SECRET}", f"Basic {basic}"):
                good = await asked.get("/metrics", headers={"authorization": header})
                assert good.status_code == 200
            for header in ("Bearer x", "Basic !", "Basic " + base64.b64encode(b"\xff").decode()):
                bad = await asked.get("/metrics", headers={"authorization": header})
                assert bad.status_code == 401


async def test_a_port_that_is_taken_keeps_nobody_from_talking(tmp_path, service, pipeline):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with daemon(
            tmp_path, text(tmp_path, service, console={"port": port}), pipeline
        ) as under_test:
            await web_up(under_test.running)
            assert await say(under_test.running, "안녕")
            assert (await asyncio.to_thread(client.status, tmp_path / "data"))["ready"]
    assert [e["port"] for e in pipeline.events() if e["event"] == "console_not_reachable"] == [port]


async def test_what_is_not_ready_is_said_with_its_remedy(tmp_path, pipeline):
    nowhere = "http://127.0.0.1:9"
    async with daemon(tmp_path, text(tmp_path, nowhere), pipeline):
        async with httpx.AsyncClient(base_url=await listening(pipeline)) as console:
            ready = await console.get("/health/ready")
            assert ready.status_code == 503
            reason = ready.json()["not_ready"]["generation"]
            assert reason["state"] == "unreachable"
            assert "generation.url" in reason["remedy"]
            figures = (await console.get("/metrics")).text
            assert "kogpt_bot_generation_ready 0.0" in figures


async def test_a_reload_changes_what_changed_and_leaves_the_rest(tmp_path, service, pipeline):
    async with daemon(tmp_path, text(tmp_path, service), pipeline) as under_test:
        running = under_test.running
        await web_up(running)
        web = running.adapters["web"]._adapter
        assert await say(running, "안녕") == "네, 안녕하세요!"
        personas = {"default": {"name": "시인"}}
        changed = text(tmp_path, service, personas=personas, logging={"level": "error"})
        assert (await under_test.reloaded(changed)).result == "applied"
        assert running.adapters["web"]._adapter is web  # its section is as it was
        room = (await web.open_room("r")).snapshot()["messages"]
        assert await say(running, "누구야?", id_="m2")
        room = (await web.open_room("r")).snapshot()["messages"]
        assert [m["author"] for m in room if m["bot"]] == ["코코", "시인"]
        changed = text(tmp_path, service, adapters={"web": {"port": 0, "allowed_hosts": ["x.y"]}})
        assert (await under_test.reloaded(changed)).result == "applied"
        assert running.adapters["web"]._adapter is not web
        await web_up(running)
        assert await say(running, "아직 있어?", id_="m3")


async def test_another_service_answers_after_a_reload(tmp_path, service, pipeline):
    async with generation_service(fake_engine("저는 다른 모델이에요.")) as other:
        async with daemon(tmp_path, text(tmp_path, service), pipeline) as under_test:
            await web_up(under_test.running)
            assert await say(under_test.running, "안녕") == "네, 안녕하세요!"
            assert (await under_test.reloaded(text(tmp_path, other))).result == "applied"
            assert await say(under_test.running, "누구?", id_="m2") == "저는 다른 모델이에요."


async def test_a_storm_of_bad_reloads_changes_nothing(tmp_path, service, pipeline):
    good = text(tmp_path, service)
    async with daemon(tmp_path, good, pipeline) as under_test:
        running = under_test.running
        await web_up(running)
        web, before, refused, seed = (
            running.adapters["web"]._adapter,
            running.reloader.settings,
            0,
            0,
        )
        document = yaml.safe_load(FULL)
        while refused < 20:
            seed += 1
            broken, _ = mutate(
                {**document, "data_dir": str(tmp_path / "data")}, random.Random(seed)
            )
            broken = {**broken, "stranger": seed} if isinstance(broken, dict) else {"stranger": 1}
            last = await under_test.reloaded(json.dumps(broken, ensure_ascii=False, indent=1))
            assert last.result == "refused"
            assert all(re.match(r".+:\d+:\d+ .", fault) for fault in last.faults)
            refused += 1
            assert running.reloader.settings is before
            assert running.adapters["web"]._adapter is web
        assert await say(running, "아직 있어?") == "네, 안녕하세요!"
        found = await asyncio.to_thread(client.status, tmp_path / "data")
        assert found["reload"]["result"] == "refused"
        assert "stranger" in client.as_text(found)
        assert (await under_test.reloaded(good)).result == "unchanged"


async def test_a_secret_that_cannot_be_read_refuses_the_whole_reload(tmp_path, service, pipeline):
    async with daemon(tmp_path, text(tmp_path, service), pipeline) as under_test:
        before = under_test.running.reloader.settings
        generation = {"url": service, "api_key_env": "NOT_SET_ANYWHERE"}
        bad = text(tmp_path, service, generation=generation, language="en")
        last = await under_test.reloaded(bad)
        assert last.result == "refused"
        assert "NOT_SET_ANYWHERE" in last.faults[0]
        assert under_test.running.reloader.settings is before
