"""The fake's REST: the calls that a bot makes, with Discord's checks, limits and error codes."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.discord.calls import (
    NOT_ALLOWED,
    UNKNOWN_CHANNEL,
    UNKNOWN_INTERACTION,
    UNKNOWN_MESSAGE,
    Call,
    Limited,
    Refusal,
    check_message,
    json_response,
    limited,
    read,
)
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.world import JSON, World, now


@dataclass
class Limit:
    """So many calls of a channel's bucket in a window, as Discord's headers tell it."""

    count: int
    window_s: float
    used: dict[str, list[float]] = field(default_factory=dict)

    def take(self, key: str) -> tuple[int, float]:
        """Count a call; returns how many are left (-1: refused), and until when in seconds."""
        moment = time.monotonic()
        used = self.used.setdefault(key, [])
        used[:] = [each for each in used if moment - each < self.window_s]
        if len(used) >= self.count:
            return -1, used[0] + self.window_s - moment
        used.append(moment)
        return self.count - len(used), used[0] + self.window_s - moment


class Rest:
    """`calls` is what arrived; `faults` are taken one a call: a response, or `None` to go on."""

    def __init__(self, world: World, gateway: Gateway, token: str) -> None:
        self.world = world
        self.gateway = gateway
        self.token = token
        self.calls: list[Call] = []
        self.faults: list[Any] = []
        self.forbidden: set[str] = set()  # channels in which the bot may not write
        self.limits: dict[str, Limit] = {}  # by the method of calls on messages
        self.commands: list[JSON] = []
        self.interactions: dict[str, JSON] = {}  # token -> what is known of it
        self.shards = 1
        self.max_concurrency = 1
        self.session_starts = 1000
        self.early: list[Call] = []  # calls that came before they might
        self._chance, self._seconds, self._random = 0.0, (0.0, 0.0), random.Random(0)
        self._until: dict[tuple[str, str], float] = {}  # method and channel -> refused until
        self._nonces: OrderedDict[str, JSON] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", "/api/v10/{path:.*}", self._handle)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = await read(request)
        self.calls.append(call)
        response = await self._fault(call) or await self._answer(call, request)
        call.status = response.status
        await self.gateway._tell_tests()
        return response

    async def _fault(self, call: Call) -> web.Response | None:
        """Give the response of the next fault that is for this call, if there is one."""
        for at, fault in enumerate(self.faults):
            if fault.matches(call):
                del self.faults[at]
                return fault.response()
        return None

    async def _answer(self, call: Call, request: web.Request) -> web.Response:
        headers: dict[str, str] = {}
        try:
            self._check_token(call, request)
            self._limit(call, headers)
            body = await self._route(call)
        except Refusal as error:
            body = {"code": error.code, "message": error.message}
            return json_response(body, status=error.status, headers=headers)
        except Limited as error:
            return limited(error.seconds, headers=headers)
        if body is None:
            return web.Response(status=204, headers=headers)
        return json_response(body, headers=headers)

    def _check_token(self, call: Call, request: web.Request) -> None:
        open_ = call.path.startswith(("interactions/", "webhooks/"))
        if not open_ and request.headers.get("Authorization") != f"Bot {self.token}":
            raise Refusal(401, 0, "401: Unauthorized")

    def refuse(self, *, chance: float, seconds: tuple[float, float], seed: int) -> None:
        """Refuse calls on messages now and then, each time for a while; note who comes early."""
        self._chance, self._seconds, self._random = chance, seconds, random.Random(seed)

    def _refuse(self, call: Call, channel: str) -> None:
        key, moment = (call.method, channel), time.monotonic()
        if (left := self._until.get(key, 0.0) - moment) > 0:
            self.early.append(call)
            raise Limited(left)
        if self._random.random() < self._chance:
            seconds = self._random.uniform(*self._seconds)
            self._until[key] = moment + seconds
            raise Limited(seconds)

    def _limit(self, call: Call, headers: dict[str, str]) -> None:
        parts = call.path.split("/")
        if parts[0] != "channels" or "messages" not in parts:
            return
        self._refuse(call, parts[1])
        limit = self.limits.get(call.method)
        if limit is None:
            return
        left, reset = limit.take(parts[1])
        headers |= {
            "X-RateLimit-Bucket": f"bucket-{call.method}", "X-RateLimit-Limit": str(limit.count),
            "X-RateLimit-Remaining": str(max(left, 0)),
            "X-RateLimit-Reset-After": f"{reset:.3f}",
            "X-RateLimit-Reset": f"{time.time() + reset:.3f}",
        }  # fmt: skip
        if left < 0:
            raise Limited(reset)

    async def _route(self, call: Call) -> Any:
        match (call.method, *call.path.split("/")):
            case ("GET", "users", "@me"):
                return self.world.bot
            case ("GET", "oauth2", "applications", "@me") | ("GET", "applications", "@me"):
                return self._application()
            case ("GET", "gateway", "bot"):
                return self._gateway_bot()
            case ("PUT", "applications", _, "commands"):
                self.commands = [{**c, "id": self.world.id()} for c in call.body["list"]]
                return self.commands
            case ("GET", "channels", channel):
                return self._channel(channel)
            case ("POST", "channels", channel, "typing"):
                self._writable(channel)
                return None
            case ("POST", "channels", channel, "threads"):
                return await self._start_thread(channel, call.body)
            case ("PUT", "channels", channel, "thread-members", _):
                self._channel(channel)
                return None
            case ("GET", "channels", channel, "messages"):
                return self._history(channel, call.query)
            case ("POST", "channels", channel, "messages"):
                return await self._send(channel, call)
            case ("PATCH", "channels", channel, "messages", id_):
                return await self._edit(channel, id_, call)
            case ("DELETE", "channels", channel, "messages", id_):
                return await self._delete(channel, id_)
            case ("POST", "interactions", id_, token, "callback"):
                return await self._callback(id_, token, call)
            case ("POST", "webhooks", _, token):
                return await self._follow_up(token, call)
            case ("PATCH", "webhooks", _, token, "messages", id_):
                return await self._edit_response(token, id_, call)
            case ("DELETE", "webhooks", _, token, "messages", id_):
                return await self._delete_response(token, id_)
            case ("GET", "guilds", guild, "members", user):
                if (member := self.world.members.get((guild, user))) is None:
                    raise Refusal(404, 10007, "Unknown Member")
                return member
        raise Refusal(404, 0, f"404: Not Found ({call.method} {call.path})")

    def _application(self) -> JSON:
        return {
            "id": self.world.application_id, "name": "코코", "icon": None, "description": "",
            "bot_public": True, "bot_require_code_grant": False, "verify_key": "0" * 64,
            "flags": self.world.application_flags, "team": None, "rpc_origins": [],
            "owner": self.world.user("주인"), "summary": "",
        }  # fmt: skip

    def _gateway_bot(self) -> JSON:
        limit = {
            "total": 1000, "remaining": self.session_starts, "reset_after": 1000,
            "max_concurrency": self.max_concurrency,
        }  # fmt: skip
        return {"url": self.gateway.url, "shards": self.shards, "session_start_limit": limit}

    def _channel(self, id_: str) -> JSON:
        if id_ not in self.world.channels:
            raise UNKNOWN_CHANNEL
        return self.world.channels[id_]

    def _writable(self, id_: str) -> JSON:
        channel = self._channel(id_)
        if id_ in self.forbidden:
            raise NOT_ALLOWED
        return channel

    def _history(self, channel: str, query: dict[str, str]) -> list[JSON]:
        self._channel(channel)
        after, limit = int(query.get("after", 0)), int(query.get("limit", 50))
        later = sorted(int(id_) for id_ in self.world.messages[channel] if int(id_) > after)
        return [self.world.messages[channel][str(id_)] for id_ in reversed(later[:limit])]

    async def _send(self, channel_id: str, call: Call) -> JSON:
        channel, body = self._writable(channel_id), call.body
        check_message(body)
        nonce = str(body.get("nonce", ""))
        if len(nonce) > 25:
            raise Refusal(400, 50035, "Invalid Form Body: nonce: Must be 25 or fewer in length.")
        if body.get("enforce_nonce") and nonce in self._nonces:
            return self._nonces[nonce]
        message = self.world.message(
            channel, self.world.bot, body["content"], **self._extra(body, channel)
        )
        if nonce:
            self._nonces[nonce] = message
            message["nonce"] = nonce
        await self._tell("MESSAGE_CREATE", message)
        return message

    def _extra(self, body: JSON, channel: JSON | None = None) -> JSON:
        """Return the fields that a sent message takes over."""
        extra = {key: body[key] for key in ("components", "flags") if key in body}
        if channel is not None and (reference := body.get("message_reference")):
            extra |= {"type": 19, "message_reference": {**reference, "channel_id": channel["id"]}}
        return extra

    async def _edit(self, channel: str, id_: str, call: Call) -> JSON:
        self._writable(channel)
        message = self._message(channel, id_)
        if message["author"]["id"] != self.world.bot["id"]:
            raise Refusal(403, 50005, "Cannot edit a message authored by another user")
        check_message(call.body)
        message |= {k: call.body[k] for k in ("content", "components", "flags") if k in call.body}
        message["edited_timestamp"] = now()
        await self._tell("MESSAGE_UPDATE", message)
        return message

    def _message(self, channel: str, id_: str) -> JSON:
        self._channel(channel)
        if id_ not in self.world.messages[channel]:
            raise UNKNOWN_MESSAGE
        return self.world.messages[channel][id_]

    async def _delete(self, channel: str, id_: str) -> None:
        self._message(channel, id_)
        del self.world.messages[channel][id_]
        guild_id = self.world.channels[channel].get("guild_id")
        event = {"id": id_, "channel_id": channel, **({"guild_id": guild_id} if guild_id else {})}
        await self.gateway.tell("MESSAGE_DELETE", event, guild_id=guild_id)

    async def _tell(self, name: str, message: JSON) -> None:
        event = self.world.event(message)
        await self.gateway.tell(name, event, guild_id=event.get("guild_id"))

    async def _start_thread(self, parent: str, body: JSON) -> JSON:
        channel = self._writable(parent)
        if not 1 <= len(body.get("name", "")) <= 100:
            raise Refusal(400, 50035, "Invalid Form Body: name")
        thread = self.world.thread(channel, body["name"], self.world.bot)
        await self.gateway.tell("THREAD_CREATE", thread, guild_id=thread["guild_id"])
        return thread

    def _interaction(self, token: str) -> JSON:
        if token not in self.interactions:
            raise UNKNOWN_INTERACTION
        return self.interactions[token]

    async def _callback(self, id_: str, token: str, call: Call) -> JSON | None:
        known = self._interaction(token)
        if known["id"] != id_ or "response" in known:
            raise Refusal(400, 40060, "Interaction has already been acknowledged.")
        body = call.body
        data = body.get("data") or {}
        known["response"] = body
        known["ephemeral"] = bool(data.get("flags", 0) & 64)
        resource: JSON = {"type": body["type"]}
        if body["type"] == 4:
            check_message(data)
            message = await self._respond(known, data, ephemeral=known["ephemeral"])
            resource["message"] = known["original"] = message
        if call.query.get("with_response") not in ("1", "true"):
            return None
        return {"interaction": {"id": id_, "type": known["type"]}, "resource": resource}

    async def _respond(self, known: JSON, data: JSON, *, ephemeral: bool) -> JSON:
        """Make a response's message; one that only its person sees is in no channel."""
        channel = known["channel"]
        extra = {**self._extra(data), "webhook_id": self.world.application_id}
        if ephemeral or known["foreign"]:
            message = self.world.message(
                {"id": channel["id"], "last_message_id": None}
                if channel["id"] in self.world.messages
                else self.world._add({**channel}),
                self.world.bot, data.get("content", ""), **extra,
            )  # fmt: skip
            if ephemeral:
                del self.world.messages[channel["id"]][message["id"]]
        else:
            message = self.world.message(channel, self.world.bot, data.get("content", ""), **extra)
            await self._tell("MESSAGE_CREATE", message)
        known["shown"][message["id"]] = message
        return message

    async def _follow_up(self, token: str, call: Call) -> JSON:
        known = self._interaction(token)
        check_message(call.body, files=call.files)
        private = bool(call.body.get("flags", 0) & 64)
        message = await self._respond(known, call.body, ephemeral=private)
        return {**message, "files": sorted(call.files)}

    async def _edit_response(self, token: str, id_: str, call: Call) -> JSON:
        known = self._interaction(token)
        check_message(call.body, files=call.files)
        if id_ == "@original":
            if "original" not in known:
                known["original"] = await self._respond(
                    known, call.body, ephemeral=known["ephemeral"]
                )
            message = known["original"]
        else:
            message = known["shown"].get(id_)
            if message is None:
                raise UNKNOWN_MESSAGE
        message |= {k: call.body[k] for k in ("content", "components", "flags") if k in call.body}
        known.setdefault("files", {}).update(call.files)
        return message

    async def _delete_response(self, token: str, id_: str) -> None:
        known = self._interaction(token)
        message = known.get("original") if id_ == "@original" else known["shown"].get(id_)
        if message is None:
            raise UNKNOWN_MESSAGE
        known["shown"].pop(message["id"], None)
        self.world.messages.get(message["channel_id"], {}).pop(message["id"], None)
