"""Where the console listens: a socket in `data_dir` always, a port where it is enabled."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from kogpt_bot.asgi import EmbeddedServer
from kogpt_bot.clock import Clock
from kogpt_bot.config import ConsoleSettings

log = structlog.get_logger(__name__)

SOCKET = "control.sock"
MAX_PATH_BYTES = 100  # a path of a Unix socket has 107 at most
TRY_AGAIN_S = 30.0  # for a port that is taken
LAST_ANSWERS_S = 0.4  # at a stop, for what is being answered


async def serve(app: ASGIApp, listener: socket.socket, on_stop: Callable[[], None]) -> None:
    """Serve until cancelled; `on_stop` ends what would be streamed for ever."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    server = EmbeddedServer(config)
    task = asyncio.create_task(server.serve([listener]), name="console server")
    try:
        await asyncio.shield(task)
    finally:
        on_stop()
        server.should_exit = True
        await asyncio.wait([task], timeout=LAST_ANSWERS_S)
        task.cancel()
        await asyncio.wait([task])
        for each in getattr(server, "servers", ()):
            each.close()
        listener.close()


async def serve_socket(folder: Path, make_app: Callable[[asyncio.Event], ASGIApp]) -> None:
    """Serve the socket until cancelled, and remove it then."""
    stopping = asyncio.Event()
    with control_socket(folder) as listener:
        await serve(make_app(stopping), listener, stopping.set)


async def serve_port(
    settings: ConsoleSettings, app: ASGIApp, clock: Clock, listening: Callable[[str], None]
) -> None:
    """Serve the port until cancelled; one that is taken is tried again, and said.

    The bot talks all the same: what it is for does not depend on who looks at it.
    """
    said = False
    while True:
        host, port = settings.host, settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            if not said:
                remedy = "end what uses the port, or set another console.port"
                why = error.strerror or str(error)
                log.warning("console_not_reachable", host=host, port=port, why=why, remedy=remedy)
            said = True
            await clock.sleep(TRY_AGAIN_S)
            continue
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        listening(f"http://{shown}:{listener.getsockname()[1]}")
        await serve(app, listener, lambda: None)
        await clock.sleep(TRY_AGAIN_S)  # it ended by itself


@contextmanager
def control_socket(folder: Path) -> Iterator[socket.socket]:
    """Give a listening socket that only its owner can reach; the instance lock is held.

    Where the folder's path is too long for one, the socket lies in a private folder, and a link
    in `data_dir` leads there.
    """
    link = folder / SOCKET
    link.unlink(missing_ok=True)  # of a daemon that was killed
    path, private = link, None
    if len(os.fsencode(link)) > MAX_PATH_BYTES:
        private = Path(tempfile.mkdtemp(prefix="kogpt-bot-", dir="/tmp"))  # of mode 0700
        path = private / SOCKET
        link.symlink_to(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(16)
        yield listener
    finally:
        listener.close()
        with suppress(OSError):
            link.unlink(missing_ok=True)
            if private is not None:
                path.unlink(missing_ok=True)
                private.rmdir()
