"""A whole daemon in the test's own process, over a scripted generation service."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

from kogpt_bot import app, config
from kogpt_bot.generation.api import Service, make_app
from kogpt_bot.ops.signals import Signals
from tests.fakes.fake_engine import FakeEngine, FakeInfo
from tests.fakes.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer().to_str()


class Server(uvicorn.Server):
    def install_signal_handlers(self):
        pass


def fake_engine(text="네, 안녕하세요!"):
    """Return an engine whose tokenizer the daemon can use."""
    return FakeEngine(text=text, info=FakeInfo(context_length=512), tokenizer_json=TOKENIZER)


@asynccontextmanager
async def generation_service(engine):
    """Serve an engine on the loopback; give its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    options = {"log_config": None, "access_log": False, "lifespan": "off"}
    server = Server(uvicorn.Config(make_app(Service(engine=engine)), **options))
    task = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.force_exit = server.should_exit = True
        await task
        listener.close()


@dataclass
class Daemon:
    """`file` is its configuration, `running` its parts."""

    file: object
    signals: Signals
    running: app.Running
    task: asyncio.Task

    @property
    def socket(self):
        return self.file.parent / "data" / "control.sock"

    async def reloaded(self, text, timeout_s=10):
        """Write a configuration and return how its reload ended."""
        before = self.running.reloader.last
        self.file.write_text(text, encoding="utf-8")
        self.signals.reload.set()
        async with asyncio.timeout(timeout_s):
            while self.running.reloader.last is before:
                await asyncio.sleep(0.005)
        return self.running.reloader.last


@asynccontextmanager
async def daemon(folder, text, pipeline=None, clock=None):
    """Run a daemon with a configuration; `DATA` in it is a folder of its own."""
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    settings = config.load(file)
    signals, ready = Signals(), asyncio.get_running_loop().create_future()
    source = app.ConfigurationSource(lambda: config.load(file), file)
    task = asyncio.create_task(
        app.run(
            settings, app.make_adapters(settings), signals,
            source=source, pipeline=pipeline, started=ready.set_result, clock=clock,
        )
    )  # fmt: skip
    try:
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield Daemon(file, signals, ready.result(), task)
    finally:
        signals.stop.set()
        await asyncio.wait_for(task, 30)
