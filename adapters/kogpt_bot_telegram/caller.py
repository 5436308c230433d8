"""Calls about a chat: at Telegram's pace, and to where the chat has moved."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from telegram import Bot

from kogpt_bot import RetryAfter
from kogpt_bot_telegram.api import Api
from kogpt_bot_telegram.errors import Migrated
from kogpt_bot_telegram.pace import Pace, Weight

log = structlog.get_logger(__name__)

MAX_MOVED = 1000  # groups that became supergroups; the oldest are asked about again

T = TypeVar("T")


class Caller:
    """Makes calls over the connections that run, or over some of their own when none do."""

    def __init__(self, make_api: Callable[[], Api], pace: Pace) -> None:
        self._make_api = make_api
        self._pace = pace
        self._api: Api | None = None
        self._moved: OrderedDict[int, int] = OrderedDict()

    def use(self, api: Api | None) -> None:
        """Take these connections from now on; None: they are being closed."""
        self._api = api

    def moved(self, old: int, new: int) -> None:
        """Note that a group became a supergroup."""
        self._moved[old] = new
        log.info("group_migrated")
        if len(self._moved) > MAX_MOVED:
            self._moved.popitem(last=False)

    async def call(
        self,
        chat: int,
        work: Callable[[Bot, int], Awaitable[T]],
        *,
        weight: Weight = Weight.NOTHING,
        follow: bool = True,
    ) -> T:
        """Make one call; `weight` for a message or an edit, of which Telegram takes only so many.

        Raises RetryAfter without calling where it is known that Telegram would refuse. `follow`:
        where the group has become a supergroup, call about that; not for what is about a message,
        whose id means another one there: that raises Migrated, which is Gone.
        """
        if (new := self._moved.get(chat)) is not None:
            if not follow:
                raise Migrated(new)
            chat = new
        try:
            return await self._once(chat, work, weight=weight)
        except Migrated as error:  # nothing was done: it is done there instead
            self.moved(chat, error.chat)
            if not follow:
                raise
            return await self._once(error.chat, work, weight=weight)

    async def _once(
        self, chat: int, work: Callable[[Bot, int], Awaitable[T]], *, weight: Weight
    ) -> T:
        self._pace.take(chat, weight)
        try:
            async with self._session() as api, api.calling() as bot:
                return await work(bot, chat)
        except RetryAfter as error:
            self._pace.hold(chat, error.seconds)
            raise

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Api]:
        if self._api is not None:
            yield self._api
            return
        api = self._make_api()
        try:
            yield api
        finally:
            await api.close()
