"""The page's HTTP: static files, one event stream per open page, and two things to post."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from kogpt_bot import (
    COMMANDS,
    Action,
    ActionKind,
    ActionResult,
    Author,
    Command,
    Incoming,
    KogptBotError,
    Refused,
)
from kogpt_bot.asgi import with_headers
from kogpt_bot_web.rooms import MAX_WATCHERS, Event, Watcher
from kogpt_bot_web.rooms import Message as Shown
from kogpt_bot_web.settings import WebSettings

if TYPE_CHECKING:
    from kogpt_bot_web.adapter import WebAdapter

STATIC = Path(__file__).parent / "static"
MAX_BODY_BYTES = 65_536  # the core's own limit for a message is lower; this bounds the memory
# What takes away messages that the page shows.
ERASING = frozenset({ActionKind.CLEAR, ActionKind.FORGET, ActionKind.OPT_OUT})
HEARTBEAT_S = 15.0  # proxies close a silent stream after a minute

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Identifier = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Speaker(_Body):
    """Who writes: an id that the browser made up, and a name that the person chose."""

    id: Identifier
    name: Name


class PostedMessage(_Body):
    """One message; the same `id` posted twice is one message."""

    id: Identifier
    author: Speaker
    text: str
    direct: bool = True


class PostedAction(_Body):
    """A button or a command; the fields are those of `Action`."""

    kind: ActionKind
    author: Speaker
    message_id: Annotated[str, StringConstraints(max_length=64)] = ""
    name: Annotated[str, StringConstraints(max_length=64)] = ""
    value: Annotated[str, StringConstraints(max_length=4000)] = ""
    direct: bool = True
    language: Literal["", "ko", "en"] = ""


def make_app(adapter: WebAdapter, settings: WebSettings) -> ASGIApp:
    """Return the page as an ASGI application."""
    hosts = ["localhost", "127.0.0.1", "[::1]", settings.host, *settings.allowed_hosts]
    api = _Api(adapter)
    app = Starlette(
        routes=[
            Route("/", api.page),
            Route("/health", api.health),
            Route("/api/commands", api.commands),
            Route("/api/rooms/{room}/events", api.events),
            Route("/api/rooms/{room}/messages", api.post_message, methods=["POST"]),
            Route("/api/rooms/{room}/actions", api.post_action, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={
            HTTPException: _http_error,
            ValidationError: _invalid,
            KogptBotError: _core_error,
        },
    )
    return with_headers(app, SECURITY_HEADERS)


class _Api:
    """The handlers; each one translates and calls the adapter or the core."""

    def __init__(self, adapter: WebAdapter) -> None:
        self._adapter = adapter

    async def page(self, _request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"live": True, "pages": self._adapter.rooms.watchers})

    async def commands(self, _request: Request) -> Response:
        """Give the words of every command, in each language."""
        return JSONResponse({kind.value: _command(each) for kind, each in COMMANDS.items()})

    async def events(self, request: Request) -> Response:
        """Stream the room: a snapshot first, then what changes."""
        if self._adapter.rooms.watchers >= MAX_WATCHERS:
            raise HTTPException(503, "열린 페이지가 너무 많아요. 잠시 후 다시 시도해 주세요.")
        room = await self._adapter.open_room(_room_name(request))
        watcher = Watcher()

        async def stream() -> AsyncIterator[str]:
            room.watchers.add(watcher)
            try:
                yield _sse(room.snapshot())
                while True:
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            event = await watcher.next()
                    except TimeoutError:
                        yield ": still here\n\n"
                        continue
                    if event is None:
                        return
                    yield _sse(event)
            finally:
                room.watchers.discard(watcher)

        return StreamingResponse(
            stream(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def post_message(self, request: Request) -> Response:
        """Hand a message to the core, then show it to everybody in the room."""
        room = await self._adapter.open_room(_room_name(request))
        posted = PostedMessage.model_validate_json(await _json_body(request))
        key = self._adapter.key(room.name)
        author = Author(posted.author.id, posted.author.name)
        now = datetime.now(UTC)
        shown = Shown(posted.id, author.name, posted.text, now.timestamp(), False)
        if room.get(posted.id) is None:
            room.put(shown)  # before the core answers it, or the answer would stand above it
            try:
                await self._adapter.inbox.accept(
                    Incoming(key, posted.id, author, posted.text, now, direct=posted.direct)
                )
            except BaseException:
                room.remove(posted.id)
                raise
        return JSONResponse({"id": posted.id}, status_code=202)

    async def post_action(self, request: Request) -> Response:
        """Carry out a button; the room sees what came of it."""
        room = await self._adapter.open_room(_room_name(request))
        posted = PostedAction.model_validate_json(await _json_body(request))
        author = Author(posted.author.id, posted.author.name)
        result = await self._adapter.inbox.act(
            Action(
                posted.kind,
                self._adapter.key(room.name),
                author,
                datetime.now(UTC),
                message_id=posted.message_id,
                name=posted.name,
                value=posted.value,
                manager=True,  # there are no accounts: who can open the page may change its rooms
                direct=posted.direct,
                language=posted.language,
            )
        )
        if result.done and posted.kind in ERASING:
            everywhere = posted.kind is ActionKind.OPT_OUT
            await self._adapter.reread(self._adapter.rooms.all() if everywhere else [room])
        return JSONResponse(_result(result))


def _command(command: Command) -> dict[str, object]:
    return {
        "emoji": command.emoji,
        **{
            language: {
                "name": command.name.of(language),
                "label": command.label.of(language),
                "description": command.description.of(language),
            }
            for language in ("ko", "en")
        },
    }


def _result(result: ActionResult) -> dict[str, object]:
    body: dict[str, object] = {"done": result.done, "text": result.text}
    if result.settings:
        body["settings"] = [asdict(view) for view in result.settings]
    if (file := result.attachment) is not None:
        body["file"] = {"name": file.name, "base64": base64.b64encode(file.content).decode()}
    return body


def _sse(event: Event) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"


def _room_name(request: Request) -> str:
    name = str(request.path_params["room"])
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise HTTPException(404, "방 이름은 1~64자여야 해요.")
    return name


async def _json_body(request: Request) -> bytes:
    """Return the body; only a page of ours may post (a foreign page cannot send this type)."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "Content-Type은 application/json이어야 해요.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, "메시지가 너무 길어요. 조금 줄여 주세요.")
    return body


async def _http_error(_request: Request, error: Exception) -> Response:
    status, detail = 500, "오류가 났어요."
    if isinstance(error, HTTPException):
        status, detail = error.status_code, str(error.detail)
    return JSONResponse({"error": detail}, status_code=status)


async def _core_error(_request: Request, error: Exception) -> Response:
    """Say a refusal in its own words; any other failure of the core may be tried again."""
    if isinstance(error, Refused):
        return JSONResponse({"error": error.text}, status_code=422)
    text = "지금은 메시지를 저장할 수 없어요. 잠시 후 다시 보내 주세요."
    return JSONResponse({"error": text}, status_code=503)


async def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ValidationError):
        raise error
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return JSONResponse({"error": f"{where}: {first['msg']}"}, status_code=400)
