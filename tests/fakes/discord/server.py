"""The fake as a test uses it: a server on the loopback, and people who do things in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes.discord.calls import Call, json_response, limited
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.render import render
from tests.fakes.discord.rest import Rest
from tests.fakes.discord.world import JSON, READ_AND_WRITE, World, now

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GaBcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"
COMMAND, COMPONENT, MODAL = 2, 3, 5


@dataclass
class Fault:
    """What a call gets instead of its answer."""

    method: str
    path: str  # a part of it
    make: Callable[[], web.Response]

    def matches(self, call: Call) -> bool:
        return call.method == self.method and self.path in call.path

    def response(self) -> web.Response:
        return self.make()


class FakeDiscord:
    """`await start()`, then point an adapter at `api_url` and `gateway_url`."""

    def __init__(self) -> None:
        self.world = World()
        self.gateway = Gateway(self.world, TOKEN)
        self.rest = Rest(self.world, self.gateway, TOKEN)
        self.guild = self.world.guild()
        self.channel = self.world.channel(self.guild)
        self.person = self.world.user("민수")
        self.world.member(self.guild, self.person)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application(client_max_size=32 * 1024**2)
        app.router.add_routes([*self.rest.routes(), web.get("/gateway", self.gateway.handle)])
        app.router.add_get("/gateway/", self.gateway.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.gateway.url = self.gateway_url

    async def stop(self) -> None:
        if self._runner is not None:
            await self.gateway.cut()
            await self._runner.cleanup()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v10"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/gateway"

    async def connected(self, count: int = 1) -> None:
        """Return once so many shards are connected."""
        await self.gateway.wait_until(lambda: len(self.gateway.connections) >= count)

    def fault(self, method: str, path: str, make: Callable[[], web.Response]) -> None:
        self.rest.faults.append(Fault(method, path, make))

    def limit_once(
        self, method: str, path: str, seconds: float, *, everywhere: bool = False
    ) -> None:
        self.fault(method, path, lambda: limited(seconds, everywhere=everywhere))

    def fail_once(self, method: str, path: str, status: int) -> None:
        body = {"message": f"{status}", "code": 0}
        self.fault(method, path, lambda: json_response(body, status=status))

    # What people do.

    async def say(
        self, content: str, *, channel: JSON | None = None, author: JSON | None = None, **extra: Any
    ) -> JSON:
        channel = channel or self.channel
        message = self.world.message(channel, author or self.person, content, **extra)
        await self.tell("MESSAGE_CREATE", message)
        return message

    async def reply(self, to: JSON, content: str, **extra: Any) -> JSON:
        reference = {"message_id": to["id"], "channel_id": to["channel_id"]}
        channel = self.world.channels[to["channel_id"]]
        extra |= {"type": 19, "message_reference": reference, "referenced_message": to}
        return await self.say(content, channel=channel, **extra)

    async def edit(self, message: JSON, content: str) -> None:
        message |= {"content": content, "edited_timestamp": now()}
        await self.tell("MESSAGE_UPDATE", message)

    async def remove(self, message: JSON) -> None:
        await self.rest._delete(message["channel_id"], message["id"])

    async def tell(self, name: str, message: JSON) -> None:
        event = self.world.event(message)
        await self.gateway.tell(name, event, guild_id=event.get("guild_id"))

    async def interact(
        self,
        type_: int,
        data: JSON,
        *,
        channel: JSON | None = None,
        author: JSON | None = None,
        permissions: int = int(READ_AND_WRITE),
        message: JSON | None = None,
        locale: str = "ko",
        foreign: bool = False,
        app_permissions: int = int(READ_AND_WRITE),
    ) -> JSON:
        """Let a person use a command, a button or a modal; returns what is known of it.

        `foreign`: the bot is no member here, the command is one that the person installed.
        """
        channel, person = channel or self.channel, author or self.person
        id_ = self.world.id()
        token = f"token-{id_}"
        known = {"id": id_, "type": type_, "channel": channel, "shown": {}, "foreign": foreign}
        self.rest.interactions[token] = known
        guild_id = channel.get("guild_id")
        owners = {"1": person["id"]} if foreign else {"0": guild_id or "0"}
        event: JSON = {
            "id": id_, "application_id": self.world.application_id, "type": type_, "data": data,
            "token": token, "version": 1, "channel": channel, "channel_id": channel["id"],
            "locale": locale, "app_permissions": str(app_permissions), "entitlements": [],
            "attachment_size_limit": 10_485_760, "authorizing_integration_owners": owners,
            "context": 0 if guild_id else (2 if foreign else 1),
        }  # fmt: skip
        if guild_id:
            member = self.world.members.get((guild_id, person["id"]))
            member = member or self.world.member({"id": guild_id}, person)
            event["guild"] = {"id": guild_id, "features": [], "locale": "ko"}
            event |= {"guild_id": guild_id, "member": {**member, "permissions": str(permissions)}}
        else:
            event["user"] = person
        if message is not None:
            event["message"] = self.world.event(message)
        await self.gateway.tell("INTERACTION_CREATE", event, guild_id=guild_id)
        return known

    async def responded(self, known: JSON) -> JSON:
        """Return the first response to an interaction, once there is one."""
        await self.gateway.wait_until(lambda: "response" in known)
        return known["response"]

    async def told(self, known: JSON) -> JSON:
        """Return the message that an interaction was answered with, once there is one."""
        await self.gateway.wait_until(lambda: "original" in known)
        return known["original"]

    # What people see.

    def shown(self, channel: JSON | None = None) -> list[JSON]:
        """Return the bot's messages in a channel."""
        messages = self.world.messages[(channel or self.channel)["id"]].values()
        return [each for each in messages if each["author"]["id"] == self.world.bot["id"]]

    def texts(self, channel: JSON | None = None) -> list[str]:
        """Return the bot's messages as people read them."""
        return [render(each["content"]) for each in self.shown(channel)]

    async def wait_for_texts(
        self, count: int, *, channel: JSON | None = None, timeout_s: float = 15.0
    ) -> list[str]:
        async with asyncio.timeout(timeout_s):
            await self.gateway.wait_until(lambda: len(self.shown(channel)) >= count, timeout_s)
        return self.texts(channel)

    def calls(self, method: str, part: str) -> list[Call]:
        return [each for each in self.rest.calls if each.method == method and part in each.path]
