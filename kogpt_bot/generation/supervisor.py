"""Keeps the generation process alive: starts it, watches it, starts it again."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from kogpt_bot.clock import Clock, SystemClock
from kogpt_bot.errors import GenerationError, GenerationUnavailable, ModelError
from kogpt_bot.generation.client import GenerationClient
from kogpt_bot.generation.environment import child_environment
from kogpt_bot.generation.options import DEVICE_FAILED, FAILED_FOR_GOOD, ServiceOptions

log = structlog.get_logger(__name__)

POLL_LOADING_S = 0.1
POLL_READY_S = 1.0
HANG_S = 28.0  # work pending and no step or layer for this long: a hang; seen within 30 s
SILENT_S = 22.0  # no answer to /health for this long; a question waits 5 s, so seen within 30 s
SILENT_LOADING_S = 300.0  # the same while it loads: native code may hold everything up
MAX_PATH_BYTES = 100  # a path of a Unix socket has 107 at most
BACKOFF_FIRST_S = 0.5
BACKOFF_CAP_S = 30.0
STEADY_S = 60.0  # ready for so long, it was no failed start, however it ended
BREAKER_CRASHES = 3  # failed starts in BREAKER_WINDOW_S: then a pause, trying fast is no help
BREAKER_WINDOW_S = 600.0
BREAKER_PAUSE_S = 60.0
STOP_PATIENCE_S = 2.0  # then it is killed: the daemon's own stop has 25 s in all
STUCK_S = 60.0  # no sign of life for so long beyond the above: the supervision itself has failed
CANNOT_START = 71  # EX_OSERR of sysexits.h
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.ERROR,
}


class State(enum.StrEnum):
    """What the generation process does."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"  # for good: its configuration is wrong
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Status:
    """The state, with a reason or what is being loaded, and how far."""

    state: State
    detail: str = ""
    progress: float = 0.0


class GenerationSupervisor:
    """One child process. `run` it in a task; `client` talks to it."""

    def __init__(
        self,
        options: ServiceOptions,
        *,
        clock: Clock | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "kogpt_bot.generation"),
    ) -> None:
        self._options = options
        self._clock = clock or SystemClock()
        self._command = command
        self._folder = _private_folder()
        self._path = str(self._folder / "generation.sock")
        self.client = GenerationClient("http://generation", uds=self._path)
        self.status = Status(State.STARTING)
        self.restarts = 0
        self._changed = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._crashes: deque[float] = deque(maxlen=BREAKER_CRASHES)
        self._last_words: deque[str] = deque(maxlen=5)
        self._ready_at: float | None = None  # since when the present process was, once it was
        self._has_served = False  # any process: then its configuration can be served
        self._process: asyncio.subprocess.Process | None = None
        self._alive_at = self._clock.monotonic()  # the last sign that it lives, or is seen to

    @property
    def stuck(self) -> str:
        """Why nothing goes on although this should have seen to it; "" where all is well."""
        if self.status.state in (State.FAILED, State.STOPPED):
            return ""  # nothing is expected of it, and a new start would change nothing
        ready = self.status.state is State.READY
        limit = STUCK_S + (HANG_S if ready else SILENT_LOADING_S + BREAKER_PAUSE_S)
        silent = self._clock.monotonic() - self._alive_at
        return f"generation: no sign of life for {silent:.0f} s" if silent > limit else ""

    @property
    def pid(self) -> int | None:
        """The process id of the child, while there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keep the process alive until `stop`; returns also when it has failed for good."""
        try:
            backoff = BACKOFF_FIRST_S
            while not self._stopping.is_set():
                self._ready_at = None
                code = await self._start_and_live()
                if self._stopping.is_set():
                    break
                # Later the same status tells of what may pass: memory that something else took.
                if code == FAILED_FOR_GOOD and not self._has_served:
                    await self._set(State.FAILED, self._reason(code))
                    log.error("generation_failed", reason=self.status.detail)
                    return
                # What has served for a while and was ended is no crash loop: it is back at once.
                pause, steady = BACKOFF_FIRST_S, self._was_steady
                backoff = BACKOFF_FIRST_S if steady else backoff
                if not steady or code == DEVICE_FAILED:
                    pause, backoff = self._pause(backoff), min(backoff * 2, BACKOFF_CAP_S)
                self.restarts += 1
                log.warning("generation_restarts", code=code, reason=self._reason(code), in_s=pause)
                await self._set(State.RESTARTING, self._reason(code))
                await self._wait_or_stop(pause)
        finally:
            await self.client.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            if self.status.state is not State.FAILED:
                await self._set(State.STOPPED)

    async def stop(self) -> None:
        """End the process, and `run`."""
        self._stopping.set()

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when the service answers; ModelError when it never will, else Unavailable."""

        def decided() -> bool:
            return self.status.state in (State.READY, State.FAILED, State.STOPPED)

        async with self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(decided)
        if self.status.state is State.FAILED:
            raise ModelError(self.status.detail)
        if self.status.state is not State.READY:
            detail = f" ({self.status.detail})" if self.status.detail else ""
            raise GenerationUnavailable(f"the model is {self.status.state}{detail}")

    @property
    def _was_steady(self) -> bool:
        since = self._ready_at
        return since is not None and self._clock.monotonic() - since >= STEADY_S

    def _pause(self, backoff: float) -> float:
        now = self._clock.monotonic()
        self._crashes.append(now)
        if len(self._crashes) == BREAKER_CRASHES and now - self._crashes[0] < BREAKER_WINDOW_S:
            self._crashes.clear()
            return BREAKER_PAUSE_S
        return backoff

    async def _start_and_live(self) -> int:
        try:
            return await self._live()
        except OSError as error:  # no memory for another process, say
            self._last_words.append(f"error: cannot be started: {error.strerror or error}")
            return CANNOT_START

    async def _live(self) -> int:
        """Start the process, watch it to its end, and return its exit status."""
        self._last_words.clear()
        async with self._child() as process:
            logs = asyncio.create_task(self._forward(process))
            watch = asyncio.create_task(self._watch(process))
            stop = asyncio.create_task(self._stopping.wait())
            end = asyncio.create_task(process.wait())
            try:
                await asyncio.wait([watch, stop, end], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._end(process)
                for task in (watch, stop):
                    task.cancel()
                await asyncio.wait([watch, stop, end, logs])
            return await end

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            self._path,
            str(os.getpid()),
            self._options.to_json(),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            limit=1 << 20,
            env=child_environment(os.environ),
            start_new_session=True,  # Ctrl-C is the daemon's to handle
        )
        self._process = process
        self._alive_at = self._clock.monotonic()
        log.info("generation_started", pid=process.pid, model=self._options.model)
        yield process

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Return when the process hangs; until then keep `status` true."""
        answered = self._clock.monotonic()
        busy_since: float | None = None
        while True:
            now = self._clock.monotonic()
            patience = SILENT_S if self.status.state is State.READY else SILENT_LOADING_S
            try:
                # Not wait_for: in Python 3.11 it loses a cancellation that comes with the answer,
                # as it does when the process ends.
                async with asyncio.timeout(SILENT_S):
                    health = await self.client.health()
            except (GenerationError, TimeoutError):
                if self._clock.monotonic() - answered > patience:
                    log.warning("generation_silent", pid=process.pid)
                    return
            else:
                answered = now
                # The last step of a process that rested is old, and no sign that it hangs now.
                busy = health.ready and health.running + health.waiting > 0
                busy_since = (busy_since or now) if busy else None
                stands = busy_since is not None and min(health.idle_s, now - busy_since) > HANG_S
                if stands:
                    log.error("generation_hangs", pid=process.pid, idle_s=health.idle_s)
                    return
                if not health.live:
                    log.error("generation_engine_ended", pid=process.pid)
                    return
                self._alive_at = now
                state = State.READY if health.ready else State.STARTING
                if health.ready and self._ready_at is None:
                    self._ready_at, self._has_served = now, True
                await self._set(state, health.loading, health.progress)
            ready = self.status.state is State.READY
            await self._clock.sleep(POLL_READY_S if ready else POLL_LOADING_S)

    async def _forward(self, process: asyncio.subprocess.Process) -> None:
        """Hand the child's log on, at its own levels."""
        if process.stderr is None:
            return
        async for line in _lines(process.stderr):
            if line.strip():
                self._last_words.append(line)
                _log_line(line)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_PATIENCE_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()

    def _reason(self, code: int) -> str:
        said = [w.removeprefix("error: ") for w in self._last_words if w.startswith("error: ")]
        if said:
            return said[-1]
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"exit status {code}"

    async def _set(self, state: State, detail: str = "", progress: float = 0.0) -> None:
        tenths = int(progress * 10)
        loading = state is State.STARTING and detail
        if loading and (detail, tenths) != (self.status.detail, int(self.status.progress * 10)):
            log.info("generation_loading", what=detail, percent=tenths * 10)
        if state is not self.status.state:
            self._alive_at = self._clock.monotonic()
        async with self._changed:
            self.status = Status(state, detail, progress)
            self._changed.notify_all()

    async def _wait_or_stop(self, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([sleep, stop], return_when=asyncio.FIRST_COMPLETED)
        sleep.cancel()
        stop.cancel()


def _private_folder() -> Path:
    """Make a folder that only this user reaches and that leaves room for a socket's path."""
    folder = tempfile.mkdtemp(prefix="kogpt-bot-")
    if len(os.fsencode(folder)) + len("/generation.sock") > MAX_PATH_BYTES:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="kogpt-bot-", dir="/tmp")  # of mode 0700
    return Path(folder)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Give the lines until the end; one that is too long is passed over."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line.decode(errors="replace").rstrip("\n")


def _log_line(line: str) -> None:
    """Log a line of the child: JSON as the event that it is, other text as it stands."""
    try:
        event = json.loads(line)
        name, level = str(event.pop("event")), LEVELS[str(event.pop("level"))]
    except (ValueError, LookupError, TypeError, AttributeError):
        told = line.startswith("error: ")  # the reason of its end, which is logged with the end
        log.log(logging.DEBUG if told else logging.WARNING, "generation_output", line=line)
        return
    fields = {k: v for k, v in event.items() if k not in ("timestamp", "logger")}
    log.log(level, name, process="generation", **fields)
