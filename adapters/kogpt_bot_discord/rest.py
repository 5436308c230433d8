"""discord.py's HTTP client, made to try once and to call where the settings say.

discord.py's own `HTTPClient.request` sleeps out every rate limit and repeats failed calls; the
core must hear of both, since it decides what an answer does meanwhile. It also takes its address
from a class attribute. Overriding the one method through which all calls go, and the one that
opens a WebSocket, settles both without touching anything global.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

import aiohttp
import discord
import yarl
from discord import DiscordServerError, HTTPException, NotFound, RateLimited
from discord.gateway import DiscordWebSocket
from discord.http import HTTPClient, Route

from kogpt_bot_discord.limits import RateLimits

TIMEOUT_S = 20.0  # of one call; Discord answers in well under a second
_SESSION = "_HTTPClient__session"  # discord.py keeps it private; `Interaction` reads it so too


class Endpoints:
    """Where Discord is: the addresses of the settings in place of the usual ones."""

    def __init__(self, api_url: str, gateway_url: str | None) -> None:
        self._api = api_url.rstrip("/")
        self._gateway = yarl.URL(gateway_url) if gateway_url else None
        self._announced: yarl.URL | None = None  # by /gateway/bot

    @property
    def gateway_is_set(self) -> bool:
        """Whether the settings name the gateway."""
        return self._gateway is not None

    def announce(self, url: str) -> None:
        """Remember the gateway that the API named."""
        self._announced = yarl.URL(url)

    def api(self, route: Route) -> str:
        """Return the address of a call."""
        return self._api + route.url.removeprefix(route.BASE)

    def gateway(self, url: str) -> yarl.URL:
        """Return where to connect instead of `url`, with the same query.

        With a gateway of the settings' own, a host that Discord names (to resume, say) is not
        ours to reach, unless it is the same one.
        """
        asked = yarl.URL(url)
        target = self._gateway
        if target is None and asked.host == DiscordWebSocket.DEFAULT_GATEWAY.host:
            target = self._announced
        if target is None or (asked.host, asked.port) == (target.host, target.port):
            return asked
        return target.with_query(asked.query)


class OneAttemptHTTP(HTTPClient):
    """Makes each call once: RateLimited at once, also for a bucket that is known to be empty."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, endpoints: Endpoints, limits: RateLimits
    ) -> None:
        super().__init__(loop)
        self.endpoints = endpoints
        self._limits = limits
        self.sockets: dict[asyncio.Task[Any] | None, aiohttp.ClientWebSocketResponse] = {}

    async def request(self, route: Route, *, files: Any = None, form: Any = None, **kw: Any) -> Any:
        """Call once and return the answer.

        Raises RateLimited, a subclass of HTTPException, aiohttp.ClientError or TimeoutError.
        """
        if wait := self._limits.wait(route):
            raise RateLimited(wait)
        url = self.endpoints.api(route)
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._open_session() as session,
            session.request(route.method, url, **self._arguments(files, form, kw)) as response,
        ):
            body = await _read(response)
        if wait := self._limits.heard(route, response.headers, response.status, body):
            raise RateLimited(wait)
        if 200 <= response.status < 300:
            return body
        raise _error(response, body)

    def _arguments(self, files: Any, form: Any, kw: dict[str, Any]) -> dict[str, Any]:
        headers: dict[str, str] = {"User-Agent": self.user_agent}
        if self.token is not None:
            headers["Authorization"] = f"Bot {self.token}"
        if reason := kw.pop("reason", None):
            headers["X-Audit-Log-Reason"] = quote(reason, safe="/ ")
        if "json" in kw:
            headers["Content-Type"] = "application/json"
            kw["data"] = discord.utils._to_json(kw.pop("json"))
        for file in files or ():
            file.reset(seek=0)
        if form:
            data = aiohttp.FormData(quote_fields=False)  # Discord takes files[0] as it stands
            for field in form:
                data.add_field(**field)
            kw["data"] = data
        return {**kw, "headers": headers}

    @asynccontextmanager
    async def _open_session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Give discord.py's session; one for this call where that is closed.

        Answers that were being written when the adapter was stopped are still finished.
        """
        session = getattr(self, _SESSION)
        if isinstance(session, aiohttp.ClientSession) and not session.closed:
            yield session
            return
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as passing:
            yield passing

    async def ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        """Connect to the gateway; the socket is kept until its task's next one."""
        where = str(self.endpoints.gateway(url))
        async with asyncio.timeout(TIMEOUT_S):
            socket = await super().ws_connect(where, compress=compress)
        self.sockets[asyncio.current_task()] = socket
        return socket

    async def find_gateway(self) -> Mapping[str, Any]:
        """Return what /gateway/bot says, and remember its address."""
        try:
            found: Mapping[str, Any] = await self.request(Route("GET", "/gateway/bot"))
        except NotFound:
            if not self.endpoints.gateway_is_set:
                raise
            return {}  # a proxy that has only the gateway
        self.endpoints.announce(str(found["url"]))
        return found


async def _read(response: aiohttp.ClientResponse) -> Any:
    """Return the answer's JSON; its text where it is none (of a proxy's error page, say)."""
    text = await response.text(encoding="utf-8", errors="replace")
    if response.content_type == "application/json":  # whatever parameters come with it
        with suppress(ValueError):
            return json.loads(text)
    return text


def _error(response: aiohttp.ClientResponse, body: Any) -> HTTPException:
    """Return discord.py's error for an answer, as its own client chooses it."""
    if response.status == 403:
        return discord.Forbidden(response, body)
    if response.status == 404:
        return NotFound(response, body)
    if response.status >= 500:
        return DiscordServerError(response, body)
    return HTTPException(response, body)
