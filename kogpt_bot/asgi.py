"""Serving HTTP as a part of a program: for adapters that listen, the console, and the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class EmbeddedServer(uvicorn.Server):
    """A server that leaves the process's signals to the program that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def with_headers(app: ASGIApp, headers: Mapping[str, str]) -> ASGIApp:
    """Return the application with these headers on every answer, errors among them."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *raw]
            await send(message)

        await app(scope, receive, send_with_headers)

    return wrapped
