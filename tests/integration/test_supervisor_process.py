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

from kogpt_bot.errors import ModelError
from kogpt_bot.generation.client import Completion
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.supervisor import GenerationSupervisor, State
from tests.fakes.checkpoints import SMALL, make_checkpoint

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
