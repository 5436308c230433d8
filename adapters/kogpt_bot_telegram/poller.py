"""Long polling: the offset moves only past updates that are stored, and nothing dies in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog

from kogpt_bot import AdapterError, BadCredentials, Clock, RetryAfter
from kogpt_bot_telegram.api import CALL_S, Api
from kogpt_bot_telegram.errors import Conflicting
from kogpt_bot_telegram.intake import Intake
from kogpt_bot_telegram.link import Link
from kogpt_bot_telegram.parsing import Received
from kogpt_bot_telegram.waiting import unless

log = structlog.get_logger(__name__)

BATCH = 100  # updates at a time, the most that Telegram gives
BACKOFF_FIRST_S = 1.0
BACKOFF_CAP_S = 60.0
CONFLICT_FIRST_S = 5.0  # the other one may be on its way out
STALL_MARGIN_S = 25.0  # beyond a poll's own time, then the poller is dead
HANDLING_S = 60.0  # a whole batch; a database that is locked for half a minute is borne
WATCH_S = 5.0
FAREWELL_S = 0.7  # the core grants a second for stopping


class Poller:
    """Polls until it is stopped; a watchdog starts it anew where it hangs."""

    def __init__(
        self,
        api: Api,
        intake: Intake,
        link: Link,
        clock: Clock,
        poll_timeout_s: int,
        *,
        watch_s: float = WATCH_S,
        stall_margin_s: float = STALL_MARGIN_S,
    ) -> None:
        self._api = api
        self._intake = intake
        self._link = link
        self._clock = clock
        self._poll_timeout_s = poll_timeout_s
        self._watch_s = watch_s
        self._stall_margin_s = stall_margin_s
        self._offset: int | None = None
        self._due = 0.0  # by then the next sign of life has come

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop`; BadCredentials where the token is not taken."""
        while True:
            self._expect(self._poll_timeout_s)
            polling = asyncio.create_task(self._poll(stop), name="telegram polls")
            try:
                hung = await self._hangs(polling)
            finally:
                polling.cancel()
                await asyncio.wait([polling], timeout=self._watch_s)
            if not hung:
                polling.result()
                break
            self._link.down("the poller hung and was started anew")
            log.warning("poller_restarted", why="no sign of life")
            await self._api.reconnect_polls()
        await self._farewell()

    async def _hangs(self, polling: asyncio.Task[None]) -> bool:
        """Watch a poller; returns True when it gives no sign of life, False when it has ended."""
        while True:
            await asyncio.wait([polling], timeout=self._watch_s)
            if polling.done():
                return False
            if self._clock.monotonic() > self._due:
                return True

    def _expect(self, seconds: float) -> None:
        """Say when the next sign of life is due at the latest."""
        self._due = self._clock.monotonic() + seconds + self._stall_margin_s

    async def _poll(self, stop: asyncio.Event) -> None:
        pause = BACKOFF_FIRST_S
        conflicts = 0
        while not stop.is_set():
            try:
                updates = await unless(stop, self._fetch())
                if updates is None:
                    return
                self._link.up()
                pause, conflicts = BACKOFF_FIRST_S, 0
                if await self._take(updates):
                    continue
                wait = pause  # something could not be stored
            except BadCredentials:
                raise
            except Conflicting as error:
                conflicts += 1
                wait = min(CONFLICT_FIRST_S * 2 ** min(conflicts - 1, 8), BACKOFF_CAP_S)
                why = await self._diagnose(error)
                self._link.down(why)
                log.warning("conflict", why=why, again_in_s=wait)
            except AdapterError as error:
                wait = error.seconds if isinstance(error, RetryAfter) else pause
                self._link.down(str(error))
                log.warning("poll_failed", why=str(error), again_in_s=wait)
            pause = min(pause * 2, BACKOFF_CAP_S)
            self._expect(wait)
            await unless(stop, self._clock.sleep(wait))

    async def _fetch(self) -> Sequence[Received]:
        timeout = self._poll_timeout_s if self._link.is_up else 0  # first see whether it works
        self._expect(timeout)
        return await self._api.updates(self._offset, timeout, BATCH)

    async def _take(self, updates: Sequence[Received]) -> bool:
        """Hand over a batch; returns whether all of it was taken."""
        if not updates:
            return True
        self._expect(HANDLING_S)
        failed = await self._intake.take(updates)
        if failed is None:
            self._offset = updates[-1].id + 1
            return True
        self._offset = failed
        return False

    async def _diagnose(self, error: Conflicting) -> str:
        """Say in one line who takes our updates."""
        self._expect(CALL_S)
        try:
            async with self._api.calling() as bot:
                info = await bot.get_webhook_info()
        except AdapterError:
            return str(error)
        if info.url:
            host = urlsplit(info.url).hostname or "?"
            return (
                f"a webhook at {host} is set for this bot, so polling gets nothing; end the "
                "program that set it and restart this one, or set adapters.telegram.webhook.url"
            )
        return "another program polls with this bot's token; end it, or give this bot its own token"

    async def _farewell(self) -> None:
        """Tell Telegram what was taken, so that the next start does not hear it again."""
        if self._offset is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._api.updates(self._offset, 0, 1)
        except (AdapterError, TimeoutError):
            log.debug("farewell_failed")  # what comes twice is known by its id
