"""Running the generation service: the HTTP server at once, the model as soon as it is loaded."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import structlog
import uvicorn

from kogpt_bot.asgi import EmbeddedServer
from kogpt_bot.errors import ConfigurationError, ModelError
from kogpt_bot.generation.api import Service, make_app
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.loopback import is_loopback

if TYPE_CHECKING:
    from kogpt_bot.generation.engine import Engine

log = structlog.get_logger(__name__)

Report = Callable[[str, float], None]
T = TypeVar("T")
PARENT_CHECK_S = 1.0


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; ConfigurationError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "end what uses the port, or choose another"
        ) from error


def check_exposure(host: str, api_key: str) -> None:
    """Refuse to serve others without a key."""
    if not is_loopback(host) and not api_key:
        raise ConfigurationError(
            f"{host} is reachable from other machines and no API key is set; give one with "
            "--api-key-env or --api-key-file, or use --host 127.0.0.1"
        )


def unix_listener(path: str) -> socket.socket:
    """Return a socket at `path` that only this user can reach."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        os.unlink(path)
    before = os.umask(0o077)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(256)
    return listener


class _Server(EmbeddedServer):
    """A server that ends by a signal as by a wish: with exit status 0."""

    def end(self) -> None:
        """End when what is being answered is done, but soon."""
        self.should_exit = True


async def serve(
    options: ServiceOptions,
    listener: socket.socket,
    *,
    api_key: str = "",
    report: Report | None = None,
    parent: int | None = None,
) -> None:
    """Serve until a signal ends it, or the process `parent` is gone; ModelError if it fails."""
    service = Service(api_key=api_key or None, started=time.time())
    config = uvicorn.Config(
        make_app(service),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.end)
    loading = asyncio.create_task(_load(options, service, report))
    watching = asyncio.create_task(_watch_parent(parent, server))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await asyncio.wait([loading, serving], return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()  # a ModelError ends the service
        await serving
    finally:
        server.should_exit = True
        watching.cancel()
        loading.cancel()
        await asyncio.wait([serving])
        if service.engine is not None:
            await service.engine.close()


async def _load(options: ServiceOptions, service: Service, report: Report | None) -> None:
    def progress(what: str, share: float) -> None:
        service.loading, service.share = what, share
        if report is not None:
            report(what, share)

    def load() -> Engine:
        # torch is imported here, while the server answers already.
        progress("libraries", 0.0)
        from kogpt_bot.generation.engine import Engine
        from kogpt_bot.generation.loading import LoadOptions

        chosen = LoadOptions.of(options)
        return Engine.load(chosen, max_sequences=options.max_sequences, progress=progress)

    try:
        engine = await _in_daemon_thread(load)
    except ImportError as error:
        raise ModelError(
            f"{error.name or error} is not installed; pip install 'kogpt-bot[engine]'"
        ) from error
    await engine.start()
    service.engine = engine
    info = engine.info
    log.info("model_ready", model=info.name, device=info.device, dtype=info.dtype)


async def _in_daemon_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns; unlike to_thread, it does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(settled: Future[T]) -> None:
        if future.cancelled():
            return
        if (error := settled.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(settled.result())

    def run() -> None:
        done: Future[T] = Future()
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001  # raised again where it is awaited
            done.set_exception(error)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await future


async def _watch_parent(parent: int | None, server: uvicorn.Server) -> None:
    """End with the parent, also where it was killed and could not say so."""
    while parent is not None:
        if os.getppid() != parent:
            log.warning("parent_gone", parent=parent)
            server.should_exit = True
            return
        await asyncio.sleep(PARENT_CHECK_S)


@contextmanager
def progress_bar() -> Iterator[Report | None]:
    """Give a report that draws a bar on standard error; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    task = bar.add_task("loading", total=1.0)

    def report(what: str, share: float) -> None:
        bar.update(task, description=f"loading {what}", completed=share)
        if what == "weights" and share >= 1.0:
            bar.stop()

    with bar:
        yield report
