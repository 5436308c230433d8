"""Messages of the bot's own that nobody waits for: sent one after the other, beside the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.clock import Clock
from kogpt_bot.errors import AdapterError, RetryAfter
from kogpt_bot.messages import ChannelKey, Outgoing

log = structlog.get_logger(__name__)

Announce = Callable[[ChannelKey, Outgoing], None]

MAX_WAITING = 64  # more notices than this are no help to anybody
SEND_S = 30.0  # for one attempt
LONGEST_WAIT_S = 60.0  # that a platform may ask for


class Announcer:
    """Takes announcements at once and sends them in its own time; `run` owns the sending."""

    def __init__(self, adapters: Mapping[str, Adapter], clock: Clock) -> None:
        self._adapters = adapters
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[ChannelKey, Outgoing]] = asyncio.Queue(MAX_WAITING)

    @property
    def waiting(self) -> int:
        """How many announcements wait."""
        return self._waiting.qsize()

    def announce(self, key: ChannelKey, message: Outgoing) -> None:
        """Take an announcement; where too many wait, it is dropped and the log says so."""
        try:
            self._waiting.put_nowait((key, message))
        except asyncio.QueueFull:
            log.warning("announcement_dropped", adapter=key.adapter, why="too many wait")

    async def run(self) -> None:
        """Send what is announced, until cancelled."""
        while True:
            key, message = await self._waiting.get()
            try:
                await self._send(key, message)
            except (AdapterError, TimeoutError) as error:
                log.warning("announcement_not_sent", adapter=key.adapter, why=repr(error))
            except Exception:
                log.exception("announcement_not_sent", adapter=key.adapter)

    async def _send(self, key: ChannelKey, message: Outgoing) -> None:
        adapter = self._adapters.get(key.adapter)
        if adapter is None:
            log.warning("announcement_not_sent", adapter=key.adapter, why="no such adapter runs")
            return
        try:
            async with asyncio.timeout(SEND_S):
                await adapter.send(key, message)
        except RetryAfter as error:
            if error.seconds > LONGEST_WAIT_S:
                raise
            await self._clock.sleep(error.seconds)
            async with asyncio.timeout(SEND_S):
                await adapter.send(key, message)
