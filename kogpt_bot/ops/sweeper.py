"""The sweeper: what is past its time goes, and what was erased leaves no byte in the database.

SQLite overwrites what is deleted (`secure_delete`), but pages that were split before keep old
copies in their unused part: only a vacuum writes the file anew without them. It takes long where
the database is large, and writers wait meanwhile, so it gets a small share of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.config import PrivacySettings
from kogpt_bot.errors import StoreError
from kogpt_bot.store import Store

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
RESTS_FOR = 30  # times as long as the last vacuum took


class Sweeper:
    """Looks after one store until `run` is cancelled; `vacuum` rewrites its database."""

    def __init__(
        self,
        store: Store,
        vacuum: Callable[[], Awaitable[object]],
        privacy: PrivacySettings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._vacuum = vacuum
        self._privacy = privacy
        self._clock = clock
        self._erased = asyncio.Event()

    def replace(self, privacy: PrivacySettings) -> None:
        """Take over changed times."""
        self._privacy = privacy

    def erased(self) -> None:
        """Hear that somebody was erased."""
        self._erased.set()

    async def run(self) -> None:
        """Sweep each hour, and vacuum after erasures; a fault is logged and tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_sweeping(), name="sweeper")
            tasks.create_task(self._keep_vacuuming(), name="vacuum")

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("sweep_failed", why=str(error))
            await self._clock.sleep(EVERY_S)

    async def sweep(self) -> None:
        """Erase what is past its time."""
        kept, now = self._store.retention, self._clock.now()
        gone = {
            "messages": await kept.erase_messages(now - timedelta(days=self._privacy.history_days)),
            "reports": await kept.erase_reports(now - timedelta(days=self._privacy.reports_days)),
            "audits": await kept.erase_audits(now - timedelta(days=self._privacy.audit_days)),
        }
        if any(gone.values()):
            log.info("swept", **gone)

    async def _keep_vacuuming(self) -> None:
        while True:
            await self._erased.wait()
            self._erased.clear()
            begun = self._clock.monotonic()
            try:
                await self._vacuum()
            except StoreError as error:
                log.warning("vacuum_failed", why=str(error))
                self._erased.set()
                await self._clock.sleep(60.0)  # locked, or the disk is full: that takes a while
            took = self._clock.monotonic() - begun
            await self._clock.sleep(RESTS_FOR * took)
