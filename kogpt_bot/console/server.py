"""The console's HTTP: `/health`, `/metrics` and the page on a port, and the same on a socket.

The socket lies in `data_dir`, for its owner alone: who reaches it may also watch the log. The port
is for Prometheus and a browser: on the loopback it is open, elsewhere it asks for a token.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from kogpt_bot.asgi import with_headers
from kogpt_bot.config import ConsoleSettings
from kogpt_bot.console import figures
from kogpt_bot.console.view import DaemonView
from kogpt_bot.secret import Secret

STATIC = Path(__file__).parent / "static"
MAX_PAST_LINES = 200
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_port_app(view: DaemonView, settings: ConsoleSettings, token: Secret | None) -> ASGIApp:
    """Return the application of the port."""
    hosts = ["localhost", "127.0.0.1", "[::1]", settings.host, *settings.allowed_hosts]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)]
    app = Starlette(routes=_routes(_Api(view)), middleware=middleware)
    return with_headers(app if token is None else _with_token(app, token), SECURITY_HEADERS)


def make_socket_app(view: DaemonView, stopping: asyncio.Event) -> ASGIApp:
    """Return the application of the socket: the same, and the log."""
    api = _Api(view, stopping)
    return with_headers(Starlette(routes=[*_routes(api), Route("/log", api.log)]), SECURITY_HEADERS)


def _routes(api: _Api) -> list[BaseRoute]:
    return [
        Route("/", api.page),
        Route("/health", api.health),
        Route("/health/live", api.live),
        Route("/health/ready", api.ready),
        Route("/metrics", api.metrics),
        Route("/status", api.status),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


class _Api:
    """The handlers."""

    def __init__(self, view: DaemonView, stopping: asyncio.Event | None = None) -> None:
        self._view = view
        self._stopping = stopping or asyncio.Event()

    async def page(self, _request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def live(self, _request: Request) -> Response:
        """Answer: that this is answered says that the event loop turns."""
        return JSONResponse({"live": True})

    async def ready(self, _request: Request) -> Response:
        """Answer 200 when every part does its work, else 503 and which do not, and why."""
        parts = await self._view.parts()
        reasons = {
            name: {"state": part.state, "detail": part.detail, "remedy": part.remedy}
            for name, part in parts.items()
            if not part.ready
        }
        body = {"ready": not reasons, "not_ready": reasons}
        return JSONResponse(body, 503 if reasons else 200)

    async def health(self, _request: Request) -> Response:
        """Answer 200 with the state of every part: it is alive, ready or not."""
        status = await self._view.status()
        return JSONResponse({"live": True, **{k: status[k] for k in ("ready", "parts", "version")}})

    async def metrics(self, _request: Request) -> Response:
        return Response(await figures.render(self._view), media_type=figures.CONTENT_TYPE)

    async def status(self, _request: Request) -> Response:
        return JSONResponse(await self._view.status())

    async def log(self, request: Request) -> Response:
        """Stream the log as JSON lines: `past` of what was, then what comes."""
        pipeline = self._view.pipeline
        asked = request.query_params.get("past", "20")
        past = min(int(asked), MAX_PAST_LINES) if asked.isascii() and asked.isdigit() else 20
        if pipeline is None:
            return JSONResponse({"error": "the log is not watched here"}, 503)

        async def lines() -> AsyncIterator[str]:
            with pipeline.watch(past) as watcher:
                while not self._stopping.is_set():
                    line = asyncio.ensure_future(watcher.next())
                    stop = asyncio.ensure_future(self._stopping.wait())
                    try:
                        await asyncio.wait([line, stop], return_when=asyncio.FIRST_COMPLETED)
                        if line.done():
                            yield f"{line.result()}\n"
                    finally:
                        line.cancel()
                        stop.cancel()

        return StreamingResponse(lines(), media_type="application/x-ndjson")


def _with_token(app: ASGIApp, token: Secret) -> ASGIApp:
    """Let pass who has the token: as a bearer, or as the password of whatever user.

    `/health/live` is open: a load balancer asks it, and it says nothing.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health/live":
            given = _given(HTTPConnection(scope).headers.get("authorization", ""))
            if not hmac.compare_digest(given.encode(), token.reveal().encode()):
                challenge = {"WWW-Authenticate": 'Basic realm="kogpt-bot", charset="UTF-8"'}
                refusal = JSONResponse({"error": "the token is missing or wrong"}, 401, challenge)
                await refusal(scope, receive, send)
                return
        await app(scope, receive, send)

    return wrapped


def _given(header: str) -> str:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
