"""The supervisor over a scripted process and a clock of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from kogpt_bot.errors import GenerationUnavailable, ModelError
from kogpt_bot.generation import supervisor as module
from kogpt_bot.generation.client import Health
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.supervisor import GenerationSupervisor, State, _private_folder
from tests.fakes.clock import FakeClock

READY = Health(ready=True)


class FakeProcess:
    """A child: `code` ends it once it is set."""

    def __init__(self, said: bytes = b"") -> None:
        self.pid = 1
        self.returncode: int | None = None
        self.stderr = asyncio.StreamReader()
        self.stderr.feed_data(said)
        self.signals: list[int] = []
        self._ended = asyncio.Event()

    def end(self, code: int) -> None:
        self.returncode = code
        self.stderr.feed_eof()
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        self.end(-number)

    def kill(self) -> None:
        self.send_signal(9)


class FakeService:
    """Answers `/health` in place of the child."""

    def __init__(self, clock: FakeClock) -> None:
        self.health_now: Health | Exception = READY
        self.clock = clock
        self.last_step: float | None = None
        self.answer_s = 0.0
        self.closed = False

    async def health(self) -> Health:
        if isinstance(self.health_now, Exception):
            if self.answer_s:
                await self.clock.sleep(self.answer_s)
            raise self.health_now
        if self.last_step is None:
            return self.health_now
        idle = self.clock.monotonic() - self.last_step
        return Health(ready=True, running=1, idle_s=idle)

    async def close(self) -> None:
        self.closed = True


class Supervised(GenerationSupervisor):
    """Gets its processes from a list; an end without a next one stops it."""

    def __init__(self, processes: list[FakeProcess]) -> None:
        self.time = FakeClock()
        super().__init__(ServiceOptions(), clock=self.time)
        self.service = FakeService(self.time)
        self.client = self.service  # type: ignore[assignment]
        self.processes = processes
        self.started: list[float] = []

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[FakeProcess]:  # type: ignore[override]
        self.started.append(self.time.monotonic())
        process = self.processes.pop(0)
        self._process = process  # type: ignore[assignment]
        if not self.processes:
            await self.stop()
        yield process


async def running(supervisor: Supervised) -> asyncio.Task[None]:
    task = asyncio.create_task(supervisor.run())
    await supervisor.wait_ready(60)
    return task


async def test_ready_then_stopped():
    process = FakeProcess()
    supervisor = Supervised([process, FakeProcess()])
    task = await running(supervisor)
    states = [supervisor.status.state]
    await supervisor.stop()
    await task
    states.append(supervisor.status.state)
    assert states == [State.READY, State.STOPPED]
    assert process.signals == [15]
    assert supervisor.service.closed


async def test_a_crash_is_started_again_at_once():
    first = FakeProcess()
    supervisor = Supervised([first, FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    at = supervisor.time.monotonic()
    first.end(-9)
    while len(supervisor.started) < 2:
        await asyncio.sleep(0)
    assert supervisor.started[1] - at < 2.0
    await supervisor.wait_ready(60)
    assert supervisor.restarts == 1
    await supervisor.stop()
    await task


async def serve(supervisor: Supervised, process: FakeProcess, seconds: float, code: int) -> None:
    """Let a process be ready for so long, and then end by itself."""
    while supervisor._process is not process or supervisor.status.state is not State.READY:
        await asyncio.sleep(0)
    until = supervisor.time.monotonic() + seconds
    while supervisor.time.monotonic() < until:
        await asyncio.sleep(0)
    process.end(code)
    while supervisor.status.state is State.READY:
        await asyncio.sleep(0)


async def ends_of(*lives: tuple[float, int]) -> list[float]:
    """Return the pauses after processes that were ready for so many seconds, and how each ended."""
    processes = [FakeProcess() for _ in lives]
    supervisor = Supervised([*processes, FakeProcess()])
    task, ended = asyncio.create_task(supervisor.run()), []
    for process, (seconds, code) in zip(processes, lives, strict=True):
        await serve(supervisor, process, seconds, code)
        ended.append(supervisor.time.monotonic())
    await task
    return [start - end for start, end in zip(supervisor.started[1:], ended, strict=True)]


LONG = module.STEADY_S + 1


@pytest.mark.parametrize("code", [-9, -11, 0, 1])
async def test_sudden_ends_soon_after_it_was_ready_are_failed_starts(code):
    assert await ends_of((2, code), (50, code), (2, code), (2, code)) == [0.5, 1.0, 60.0, 4.0]


async def test_what_has_served_for_long_is_back_at_once_however_often():
    assert await ends_of(*[(LONG, -9)] * 6) == [0.5] * 6


async def test_three_sudden_ends_in_more_than_ten_minutes_bring_no_pause():
    lives = (2, -9), (2, -9), (module.BREAKER_WINDOW_S, -9), (2, -9), (2, -9)
    assert await ends_of(*lives) == [0.5, 1.0, 0.5, 0.5, 1.0]


async def test_a_long_run_makes_the_next_pause_short_again():
    assert await ends_of((2, -9), (2, -9), (LONG, 70)) == [0.5, 1.0, 60.0]  # of a failed device
    later = module.BREAKER_WINDOW_S + 1
    assert await ends_of((2, -9), (2, -9), (later, 70), (later, 70)) == [0.5, 1.0, 0.5, 0.5]


async def test_an_engine_that_has_ended_in_a_process_that_lives_is_replaced():
    first = FakeProcess()
    supervisor = Supervised([first, FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    supervisor.service.health_now = Health(ready=False, live=False)
    began = supervisor.time.monotonic()
    while not first.signals and supervisor.time.monotonic() < began + 60:
        await asyncio.sleep(0)
    assert first.signals
    assert supervisor.time.monotonic() - began < 5
    supervisor.service.health_now = READY
    await supervisor.wait_ready(60)
    await supervisor.stop()
    await task


async def test_wrong_configuration_is_not_tried_again():
    process = FakeProcess(b"noise\nerror: model 'x' is not there\n")
    process.end(78)
    supervisor = Supervised([process, FakeProcess()])
    supervisor.service.health_now = GenerationUnavailable("refused")
    await supervisor.run()
    assert supervisor.status.state is State.FAILED
    assert len(supervisor.started) == 1
    with pytest.raises(ModelError, match="model 'x' is not there"):
        await supervisor.wait_ready(1)


async def test_an_answer_that_is_not_ready_ends_nothing():
    """One that failed by itself, say."""
    first = FakeProcess()
    supervisor = Supervised([first, FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    supervisor.service.health_now = Health(ready=False)
    await supervisor.time.sleep(10)
    assert not first.signals
    supervisor.service.health_now = READY
    await supervisor.wait_ready(60)
    await supervisor.stop()
    await task
    assert first.signals == [15]


async def test_what_has_served_is_tried_again_whatever_its_next_start_says():
    """Memory that something else took, for one, may be free again."""
    first, second, third = FakeProcess(), FakeProcess(b"error: memory ran out"), FakeProcess()
    second.end(78)
    supervisor = Supervised([first, second, third, FakeProcess()])
    task = await running(supervisor)
    first.end(-9)
    while supervisor._process is not third and not task.done():
        await asyncio.sleep(0)
    await supervisor.wait_ready(60)
    await supervisor.stop()
    await task
    assert supervisor.status.state is State.STOPPED


async def test_three_failed_starts_bring_a_pause():
    processes = [FakeProcess() for _ in range(6)]
    for process in processes[:5]:
        process.end(1)
    supervisor = Supervised(processes)
    supervisor.service.health_now = GenerationUnavailable("refused")
    await supervisor.run()
    gaps = [b - a for a, b in zip(supervisor.started, supervisor.started[1:], strict=False)]
    assert gaps[0] == pytest.approx(0.5, abs=0.2)
    assert gaps[1] == pytest.approx(1.0, abs=0.2)
    assert gaps[2] == pytest.approx(60.0, abs=0.5)
    assert len(supervisor.started) == 6  # it never gives up


async def test_a_hang_ends_the_process():
    first = FakeProcess()
    supervisor = Supervised([first, FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    supervisor.service.last_step = supervisor.time.monotonic()
    began = supervisor.time.monotonic()
    while not first.signals:
        await asyncio.sleep(0)
    assert module.HANG_S <= supervisor.time.monotonic() - began < module.HANG_S + 5
    supervisor.service.last_step = None
    await supervisor.stop()
    await task


async def test_work_after_a_long_rest_is_no_hang():
    first = FakeProcess()
    supervisor = Supervised([first, FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    began = supervisor.time.monotonic()
    supervisor.service.last_step = began - 3600.0  # nothing to do for an hour; now its first step
    while supervisor.time.monotonic() < began + 10:
        await asyncio.sleep(0)
    assert first.signals == []
    supervisor.service.last_step = None
    await supervisor.stop()
    await task


async def test_silence_ends_the_process():
    first = FakeProcess()
    supervisor = Supervised([first, FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    supervisor.service.health_now = GenerationUnavailable("no answer")
    began = supervisor.time.monotonic()
    while not first.signals:
        await asyncio.sleep(0)
    assert supervisor.time.monotonic() - began < module.SILENT_S + 5
    supervisor.service.health_now = READY
    await supervisor.stop()
    await task


@pytest.mark.parametrize("health", [GenerationUnavailable("no answer"), None])
async def test_standing_still_is_seen_within_half_a_minute(health):
    """Whether it does not answer (a question waits 5 s) or answers and makes no step."""
    first = FakeProcess()
    supervisor = Supervised([first, FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    began = supervisor.time.monotonic()
    if health is None:
        supervisor.service.last_step = began
    else:
        supervisor.service.health_now = health
        supervisor.service.answer_s = 5.0
    while not first.signals:
        await asyncio.sleep(0)
    assert supervisor.time.monotonic() - began <= 30
    supervisor.service.last_step, supervisor.service.health_now = None, READY
    await supervisor.stop()
    await task


async def test_it_is_stuck_only_where_its_own_watch_has_failed():
    supervisor = Supervised([FakeProcess(), FakeProcess(), FakeProcess()])
    task = await running(supervisor)
    assert supervisor.stuck == ""
    time = supervisor.time
    now = time.time
    time.time = now + module.HANG_S + module.STUCK_S - 1
    assert supervisor.stuck == ""
    time.time = now + module.HANG_S + module.STUCK_S + 1
    assert "no sign of life for 89 s" in supervisor.stuck
    time.time = now
    await supervisor.stop()
    await task
    time.time = now + 10_000
    assert supervisor.stuck == ""  # it was stopped: nothing is expected of it


async def test_a_start_without_memory_is_a_failed_start():
    class Starved(Supervised):
        @asynccontextmanager
        async def _child(self):
            self.started.append(self.time.monotonic())
            if len(self.started) < 3:
                raise OSError(12, "Cannot allocate memory")
            await self.stop()
            yield FakeProcess()

    supervisor = Starved([FakeProcess()])
    with structlog.testing.capture_logs() as logs:
        await asyncio.wait_for(supervisor.run(), 10)
    assert not [each for each in logs if each["event"] == "generation_loading"]  # it does not
    reasons = [each["reason"] for each in logs if each["event"] == "generation_restarts"]
    assert reasons == ["cannot be started: Cannot allocate memory"] * 2
    assert supervisor.restarts == 2


async def test_not_ready_in_time():
    supervisor = Supervised([FakeProcess(), FakeProcess()])
    supervisor.service.health_now = Health(ready=False, loading="weights", progress=0.5)
    task = asyncio.create_task(supervisor.run())
    with pytest.raises(GenerationUnavailable, match="weights"):
        await supervisor.wait_ready(0.05)
    assert supervisor.status.progress == 0.5
    await supervisor.stop()
    await task


async def test_the_childs_log_is_handed_on():
    said = (
        b'{"event": "float16_on_cpu", "level": "warning", "logger": "x", "computed_in": "f32"}\n'
        b"\n"  # an empty line is not the end
        b"Segmentation fault\n"
        b'{"event": "model_ready", "level": "info"}\n'
    )
    process = FakeProcess(said)
    process.end(0)
    supervisor = Supervised([process, FakeProcess()])
    with structlog.testing.capture_logs() as logs:
        await supervisor._forward(process)  # type: ignore[arg-type]
    told = [(each["event"], each["log_level"]) for each in logs]
    assert told == [
        ("float16_on_cpu", "warning"), ("generation_output", "warning"), ("model_ready", "info"),
    ]  # fmt: skip
    assert logs[0]["computed_in"] == "f32"
    assert logs[1]["line"] == "Segmentation fault"


def test_the_socket_is_private_and_its_path_short(tmp_path: Path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = _private_folder()
    try:
        assert len(os.fsencode(folder / "generation.sock")) <= 107
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()
    assert list(long.iterdir()) == []


def test_the_command_is_this_python():
    supervisor = GenerationSupervisor(ServiceOptions())
    assert supervisor._command[0] == sys.executable
    supervisor._folder.rmdir()
