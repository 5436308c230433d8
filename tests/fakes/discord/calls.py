"""One call to the fake's REST: reading it, checking it, and the answers that say no."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.discord.world import JSON

MAX_LENGTH = 2000


@dataclass
class Call:
    """One call as it arrived."""

    method: str
    path: str
    body: JSON
    query: dict[str, str]
    at: float
    status: int = 0
    files: dict[str, bytes] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that says no."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


UNKNOWN_CHANNEL = Refusal(404, 10003, "Unknown Channel")
UNKNOWN_MESSAGE = Refusal(404, 10008, "Unknown Message")
UNKNOWN_INTERACTION = Refusal(404, 10062, "Unknown interaction")
EMPTY = Refusal(400, 50006, "Cannot send an empty message")
NOT_ALLOWED = Refusal(403, 50013, "Missing Permissions")


class Limited(Exception):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def check_message(body: JSON, files: dict[str, bytes] | None = None) -> None:
    content = body.get("content") or ""
    if not content.strip() and not files and not body.get("components"):
        raise EMPTY
    if len(content) > MAX_LENGTH:
        raise Refusal(400, 50035, "Invalid Form Body: content: Must be 2000 or fewer in length.")
    for row in body.get("components") or ():
        if row["type"] == 1 and not 1 <= len(row["components"]) <= 5:
            raise Refusal(400, 50035, "Invalid Form Body: components")
        for part in row["components"]:
            if not 1 <= len(part["custom_id"]) <= 100:
                raise Refusal(400, 50035, "Invalid Form Body: custom_id")


async def read(request: web.Request) -> Call:
    body: Any = {}
    files: dict[str, bytes] = {}
    if request.content_type == "application/json":
        body = json.loads(await request.text() or "{}")
    elif request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            content = await part.read()
            if part.name == "payload_json":
                body = json.loads(content)
            else:
                files[part.filename or part.name or ""] = bytes(content)
    if isinstance(body, list):
        body = {"list": body}
    path = request.match_info["path"]
    return Call(request.method, path, body, dict(request.query), time.monotonic(), files=files)


def limited(
    seconds: float, *, everywhere: bool = False, headers: dict[str, str] | None = None
) -> web.Response:
    """Return Discord's refusal of a call that came too soon."""
    body = {"message": "You are being rate limited.", "retry_after": seconds, "global": everywhere}
    scope = "global" if everywhere else "user"
    told = {"Via": "1.1 google", "Retry-After": f"{seconds:.3f}", "X-RateLimit-Scope": scope}
    if everywhere:
        told["X-RateLimit-Global"] = "true"
    return json_response(body, status=429, headers={**told, **(headers or {})})


def json_response(
    body: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return JSON with the content type as Discord writes it, without a charset."""
    told = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(body).encode(), status=status, headers=told)
