"""A real generation process: killed, started again, refused, and stopped while it loads."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from kogpt_bot.errors import ModelError
from kogpt_bot.generation.client import Completion
from kogpt_bot.generation.options import DEVICE_FAILED, ServiceOptions
from kogpt_bot.generation.source import ServedModelSource
from kogpt_bot.generation.supervisor import GenerationSupervisor, State
from kogpt_bot.pseudonym import Pseudonyms
from tests.fakes.checkpoints import SMALL, make_checkpoint
from tests.fakes.core import running

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ROOT)


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> ServiceOptions:
    folder = make_checkpoint(tmp_path_factory.mktemp("supervised") / "small", **SMALL)
    return ServiceOptions(model=str(folder), device="cpu", threads=1)


@asynccontextmanager
async def supervised(options: ServiceOptions):
    supervisor = GenerationSupervisor(options)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        await supervisor.stop()
        await task


async def test_killed_it_serves_again_within_ten_seconds(options):
    async with supervised(options) as supervisor:
        await supervisor.wait_ready(60)
        first = supervisor.pid
        os.kill(first, signal.SIGKILL)
        begin = time.monotonic()
        while supervisor.pid in (None, first):
            await asyncio.sleep(0.01)
        await supervisor.wait_ready(60)
        deltas = [d async for d in supervisor.client.stream(Completion("안녕", max_tokens=4))]
        assert deltas[-1].finish_reason
        assert time.monotonic() - begin < 10
        assert supervisor.restarts == 1
        last = supervisor.pid
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    assert supervisor.status.state is State.STOPPED


FAILING_DEVICE = """
import asyncio, os, sys
from pathlib import Path
import uvicorn
from kogpt_bot.generation.api import Service, make_app
from kogpt_bot.generation.options import DEVICE_FAILED, ServiceOptions
from kogpt_bot.generation.serve import unix_listener
from tests.fakes.fake_engine import FakeEngine, FakeInfo
from tests.fakes.tokenizer import make_tokenizer

failed = Path(ServiceOptions.from_json(sys.argv[3]).model)

class Engine(FakeEngine):
    async def chunks(self, request):
        if not failed.exists():
            if len(self.requests) == 5:
                failed.touch()
                os._exit(DEVICE_FAILED)
            await asyncio.Event().wait()
        async for chunk in super().chunks(request):
            yield chunk

info, tokenizer = FakeInfo(context_length=512), make_tokenizer().to_str()
app = make_app(Service(Engine("이제 됐어요", info=info, tokenizer_json=tokenizer)))
config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
asyncio.run(uvicorn.Server(config).serve([unix_listener(sys.argv[1])]))
"""


async def test_who_waits_when_the_device_fails_is_answered_after_the_restart(store, tmp_path):
    """Five are being answered when the process ends with the status of a failed device."""
    failed = tmp_path / "failed"
    supervisor = GenerationSupervisor(
        ServiceOptions(model=str(failed)), command=(sys.executable, "-c", FAILING_DEVICE)
    )
    task = asyncio.create_task(supervisor.run())
    source = ServedModelSource(supervisor.client, Pseudonyms(b"k" * 32), supervisor)
    try:
        with structlog.testing.capture_logs() as logs:
            async with running(store, source) as core:
                for number in range(5):
                    await core.adapter.say("안녕", channel=f"c{number}")
                await core.settle(replied=5)
                shown = [m.text for room in core.adapter.shown.values() for m in room.values()]
    finally:
        await supervisor.stop()
        await task
    assert shown == ["이제 됐어요"] * 5
    assert failed.exists()
    codes = [each["code"] for each in logs if each["event"] == "generation_restarts"]
    assert (codes, supervisor.restarts) == ([DEVICE_FAILED], 1)


async def test_a_model_that_is_not_there_fails_for_good():
    async with supervised(ServiceOptions(model="/nowhere/at/all")) as supervisor:
        with pytest.raises(ModelError, match="nowhere"):
            await supervisor.wait_ready(60)
        assert supervisor.status.state is State.FAILED
        assert supervisor.restarts == 0


@pytest.mark.parametrize("delay", [0.7, 1.4])
async def test_sigterm_ends_it_in_peace(options, tmp_path, delay):
    path = str(tmp_path / "s.sock")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kogpt_bot.generation", path, str(os.getpid()), options.to_json(),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await _reached(path)
    await asyncio.sleep(delay)  # somewhere in loading
    process.terminate()
    begin = time.monotonic()
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, said.decode()
    assert time.monotonic() - begin < 5
    assert b"Traceback" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc, and Linux's parent-death signal")
async def test_it_dies_with_its_parent(options, tmp_path):
    path = str(tmp_path / "s.sock")
    parent = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'kogpt_bot.generation', sys.argv[1],"
        " str(os.getpid()), sys.argv[2]], stderr=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, path, options.to_json(), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    await _reached(path)
    process.kill()
    await process.wait()
    begin = time.monotonic()
    while _alive(child):
        assert time.monotonic() - begin < 5
        await asyncio.sleep(0.01)


def _alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def _reached(path: str) -> None:
    begin = time.monotonic()
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                return
        assert time.monotonic() - begin < 20
        await asyncio.sleep(0.02)


def test_options_survive_the_command_line():
    options = ServiceOptions(model="한글 'x'", threads=2)
    assert ServiceOptions.from_json(options.to_json()) == options
    assert json.loads(options.to_json())["threads"] == 2
