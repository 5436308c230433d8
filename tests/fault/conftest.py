"""A real daemon between a platform and a generation service that outlive it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sqlite3
import sys
from collections import Counter
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path

import pytest
import uvicorn

from kogpt_bot.generation.api import Service, make_app
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.forked import Forked
from tests.fakes.platform import FakePlatform
from tests.fakes.postgres import cluster, find_postgres
from tests.fakes.tokenizer import make_tokenizer

ROOT = Path(__file__).parents[2]
TOKENIZER = make_tokenizer()


class SlowEngine(FakeEngine):
    """It takes its time over each character, and fails in the middle where it is told to."""

    pace_s = 0.002
    failures = 0
    broken = 0  # answers, in the middle

    def __init__(self):
        super().__init__(tokenizer_json=TOKENIZER.to_str())
        self._numbers = itertools.count()

    async def chunks(self, request):
        self.text = f" {next(self._numbers)}번째로 하는 대답이에요. 잘 들었어요?"
        fails = self.failures > 0
        self.failures -= fails
        count = 0
        async for chunk in super().chunks(request):
            await asyncio.sleep(self.pace_s)
            count += 1
            if fails and count == 3:
                self.broken += 1
                raise RuntimeError("not a number")
            yield chunk


class FakeService:
    """The generation service on a port of its own; it can go away and come back."""

    def __init__(self, engine):
        self._app = make_app(Service(engine=engine))
        self._port = 0
        self._task = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    async def come(self):
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app, log_config=None, lifespan="off", timeout_graceful_shutdown=0
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = nullcontext
        self._task = asyncio.create_task(self._server.serve([listener]))
        while not self._server.started:
            await asyncio.sleep(0.01)

    async def go(self):
        self._server.should_exit = self._server.force_exit = True
        await self._task


@pytest.fixture
async def service():
    """Serve a fake engine; give it, with the URL and ways to `go` and `come`."""
    engine = SlowEngine()
    served = FakeService(engine)
    await served.come()
    engine.url, engine.go, engine.come = served.url, served.go, served.come
    yield engine
    await served.go()


@pytest.fixture
def private_postgres():
    """Run a cluster that a test may stop."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    with cluster() as running_cluster:
        running_cluster.sql("CREATE DATABASE kogpt")
        yield running_cluster


@pytest.fixture
async def keyed():
    async with FakePlatform(keyed=True, delay_s=0.02).serving() as platform:
        yield platform


@pytest.fixture
async def keyless():
    async with FakePlatform(keyed=False, delay_s=0.02).serving() as platform:
        yield platform


class Daemon:
    """`kogpt-bot run`, to be killed and started again."""

    def __init__(self, folder, service, platforms, *, postgres=None, drain_s=20):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.postgres = postgres
        self.database = folder / "data" / "kogpt.sqlite3"
        self.platforms = platforms
        self.process = None
        self.log = folder / "log"
        self.config = folder / "config.yaml"
        adapters = "".join(f"  {name}: {{port: {p.port}}}\n" for name, p in platforms.items())
        self.config.write_text(
            f"data_dir: '{folder / 'data'}'\n"
            f"adapters:\n  web: {{enabled: false}}\n{adapters}"
            f"generation: {{url: '{service.url}'}}\n"
            + (f"store: {{url: '{postgres.url('kogpt')}'}}\n" if postgres else "")
            + f"limits:\n  drain_s: {drain_s}\n"
            "  waiting_per_channel: 1000\n  waiting_total: 10000\n  reply_deadline_s: 600\n"
            "  messages_per_minute: 1000\n  burst_window_s: 0\n"
        )

    async def start(self, *, forked=False):
        """Start it as its owner does; `forked`, and not for the first time, from a process that
        has imported it already."""
        arguments = ["run", "-c", str(self.config)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests/fakes/plugin")])
        environment = {"PYTHONPATH": path, "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}
        if self.process is None or not forked:
            with self.log.open("a") as log:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "kogpt_bot", *arguments,
                    stdout=log, stderr=log, cwd=self.folder, env=os.environ | environment,
                )  # fmt: skip
        else:
            self.process = Forked(
                arguments, log=self.log, folder=self.folder, environment=environment
            )
        ended = asyncio.ensure_future(self.process.wait())
        connected = [asyncio.ensure_future(p.connected.wait()) for p in self.platforms.values()]
        both = asyncio.gather(*connected)
        await asyncio.wait([ended, both], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert both.done(), self.log.read_text()[-3000:]
        ended.cancel()

    async def kill(self):
        """End it without a word."""
        self.process.kill()
        await self.process.wait()
        for platform in self.platforms.values():
            while platform.connected.is_set():
                await asyncio.sleep(0.005)

    async def terminate(self):
        """Ask it to end; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self.process.wait()

    def query(self, text):
        if self.postgres is not None:
            lines = self.postgres.sql(text, "kogpt").splitlines()
            return [tuple(line.split("|")) for line in lines]
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(text).fetchall()

    def turns(self):
        """Return (adapter, platform id of the question) -> state."""
        rows = self.query(
            "SELECT channels.key, messages.platform_id, turns.state FROM turns"
            " JOIN messages ON messages.id = turns.message_id"
            " JOIN channels ON channels.id = turns.channel_id"
        )
        assert len(rows) == len({row[:2] for row in rows})
        return {(key.split("/")[0], id_): state for key, id_, state in rows}

    async def until_ended(self, count, timeout_s=90):
        """Wait until so many turns have ended and nothing is left to be acknowledged."""
        async with asyncio.timeout(timeout_s):
            while True:
                states = Counter(self.turns().values())
                still = sum(states[s] for s in ("waiting", "generating", "sending"))
                unacknowledged = sum(p.unacknowledged for p in self.platforms.values())
                if not still and not unacknowledged and states.total() >= count:
                    return states
                await asyncio.sleep(0.1)


@pytest.fixture
async def make_daemon(tmp_path, service):
    """Return a maker of daemons; what still runs at the end is killed."""
    made = []

    def make(platforms, *, folder=tmp_path, **options):
        made.append(Daemon(folder, service, platforms, **options))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.process is not None and daemon.process.returncode is None:
            daemon.process.kill()
            await daemon.process.wait()


@asynccontextmanager
async def running(daemon):
    await daemon.start()
    yield daemon
    assert await daemon.terminate() == 0
