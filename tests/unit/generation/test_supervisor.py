"""The supervisor with small stand-ins for the generation process."""

import asyncio
import json
import os
import signal
import sys
import textwrap

import pytest

from kogpt_bot.errors import GenerationUnavailable, ModelError
from kogpt_bot.generation import supervisor as module
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.supervisor import GenerationSupervisor, State

SERVING = """
    import asyncio, json, sys
    health = json.dumps({health})
    async def answer(reader, writer):
        try:
            while await reader.readuntil(b"\\r\\n\\r\\n"):
                head = "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: "
                writer.write((head + f"{{len(health)}}\\r\\n\\r\\n{{health}}").encode())
        except asyncio.IncompleteReadError:
            writer.close()
    async def main():
        async with await asyncio.start_unix_server(answer, sys.argv[1]) as server:
            await server.serve_forever()
    asyncio.run(main())
"""
READY = {"ready": True, "running": 0, "waiting": 0, "idle_s": 0}


def serving(**changes):
    return textwrap.dedent(SERVING.format(health=json.dumps(READY | changes).replace("true", "True").replace("false", "False")))  # fmt: skip


@pytest.fixture
async def supervise(monkeypatch):
    """Run a supervisor over a program; stop it at the end."""
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 0.05)
    monkeypatch.setattr(module, "POLL_READY_S", 0.05)
    made = []

    def start(program):
        under_test = GenerationSupervisor(ServiceOptions(), command=(sys.executable, "-c", program))
        made.append((under_test, asyncio.create_task(under_test.run())))
        return under_test

    yield start
    for under_test, task in made:
        await under_test.stop()
        await asyncio.wait_for(task, 10)
        assert under_test.pid is None
        assert not under_test._folder.exists()


async def test_a_service_becomes_ready_and_stops(supervise):
    under_test = supervise(serving())
    await under_test.wait_ready(10)
    assert under_test.status.state is State.READY
    assert oct(under_test._folder.stat().st_mode)[-3:] == "700"
    assert len(under_test._path) < 100


async def test_a_killed_service_is_back_at_once_however_often(supervise, monkeypatch):
    monkeypatch.setattr(module, "STEADY_S", 0.0)  # it has served for a while each time
    under_test = supervise(serving())
    for count in range(5):
        await under_test.wait_ready(10)
        old = under_test.pid
        os.kill(old, signal.SIGKILL)
        async with asyncio.timeout(10):
            while under_test.restarts != count + 1 or under_test.pid in (None, old):
                await asyncio.sleep(0.01)
    await under_test.wait_ready(10)


async def test_a_wrong_model_fails_for_good_with_its_reason(supervise):
    under_test = supervise(
        "import sys; print('error: no weights in /x', file=sys.stderr); sys.exit(78)"
    )
    with pytest.raises(ModelError, match="no weights in /x"):
        await under_test.wait_ready(10)
    assert under_test.status.state is State.FAILED
    assert under_test.restarts == 0


async def test_starts_that_keep_failing_are_paced(supervise, monkeypatch):
    monkeypatch.setattr(module, "BREAKER_PAUSE_S", 30.0)
    under_test = supervise("raise SystemExit(1)")
    async with asyncio.timeout(10):
        while under_test.restarts < 3:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert under_test.restarts == 3
    with pytest.raises(GenerationUnavailable, match="exit status 1"):
        await under_test.wait_ready(0.05)


async def test_a_service_that_hangs_is_replaced(supervise, monkeypatch):
    monkeypatch.setattr(module, "HANG_S", 0.3)
    under_test = supervise(serving(running=1, idle_s=99))
    async with asyncio.timeout(15):
        while not under_test.restarts:
            await asyncio.sleep(0.01)


async def test_while_it_loads_the_progress_is_known(supervise):
    under_test = supervise(serving(ready=False, loading="weights", progress=0.4))
    async with asyncio.timeout(10):
        while under_test.status.progress != 0.4:
            await asyncio.sleep(0.01)
    with pytest.raises(GenerationUnavailable, match="starting \\(weights\\)"):
        await under_test.wait_ready(0.01)


async def test_an_endless_line_in_the_log_is_passed_over(supervise):
    program = "import sys; sys.stderr.write('x' * 3_000_000); sys.stderr.flush()\n" + serving()
    await supervise(program).wait_ready(10)


async def test_a_device_that_fails_again_and_again_is_given_a_pause(supervise, monkeypatch):
    monkeypatch.setattr(module, "BREAKER_PAUSE_S", 30.0)
    program = (
        "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: os._exit(70))\n" + serving()
    )
    under_test = supervise(program)
    for count in range(3):
        await under_test.wait_ready(10)
        os.kill(under_test.pid, signal.SIGUSR1)
        async with asyncio.timeout(10):
            while under_test.restarts != count + 1:
                await asyncio.sleep(0.01)
            while count < 2 and under_test.status.state is not State.READY:
                await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert (under_test.restarts, under_test.pid) == (3, None)
