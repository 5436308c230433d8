"""Webhook mode: Telegram calls us, and hears 200 only for what is stored."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from kogpt_bot import ConfigurationError, Secret
from kogpt_bot.asgi import EmbeddedServer
from kogpt_bot_telegram.api import Api
from kogpt_bot_telegram.intake import Intake
from kogpt_bot_telegram.settings import WebhookSettings

log = structlog.get_logger(__name__)

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105  # the header's name
MAX_BODY_BYTES = 1 << 20
BODY_S = 10.0  # until all of a body has come
MAX_CALLS = 100  # at a time; Telegram is asked for 40


class WebhookServer:
    """Listens for Telegram's calls on one socket; `address` is known once it listens."""

    def __init__(self, api: Api, intake: Intake, settings: WebhookSettings, secret: Secret) -> None:
        self._api = api
        self._intake = intake
        self._settings = settings
        self._secret = secret.reveal().encode()
        self._server: EmbeddedServer | None = None
        self._listener = _listen(settings.host, settings.port)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]

    async def run(self) -> None:
        """Serve until `stop`."""
        config = uvicorn.Config(
            Starlette(routes=[Route(self._settings.route, self._called, methods=["POST"])]),
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=MAX_CALLS,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        self._server = EmbeddedServer(config)
        try:
            await self._server.serve([self._listener])
        finally:
            for server in getattr(self._server, "servers", ()):
                server.close()  # where it was cancelled before its own shutdown
            self._listener.close()

    def stop(self) -> None:
        """Let `run` return, with the calls that are being answered at their end."""
        if self._server is not None:
            self._server.should_exit = True

    def close(self) -> None:
        """Give the port back."""
        self._listener.close()

    async def _called(self, request: Request) -> Response:
        """Take one update."""
        given = request.headers.get(SECRET_HEADER, "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self._secret):
            log.warning("webhook_refused", why="wrong or missing secret token")
            return Response(status_code=403)
        try:
            async with asyncio.timeout(BODY_S):
                body = await _read(request)
            if body is None:
                return Response(status_code=413)
            raw = json.loads(body)
            received = self._api.parse(raw)
        except (TimeoutError, ClientDisconnect):
            return Response(status_code=408)
        except (ValueError, TypeError, KeyError, RecursionError):
            return Response(status_code=400)
        taken = await self._intake.take_one(received)
        return Response(status_code=200 if taken else 503)


async def _read(request: Request) -> bytes | None:
    """Return the body; None for one that is too large, which is not read to its end."""
    declared = request.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise ConfigurationError(
            f"adapters.telegram.webhook: cannot listen on {host} port {port}: "
            f"{error.strerror or error}; end what uses the port, or set another webhook.port"
        ) from error
