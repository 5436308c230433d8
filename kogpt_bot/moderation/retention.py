"""What the log no longer keeps: hits past their time, and lines of hits that were erased."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.errors import StoreError
from kogpt_bot.moderation.file import HitFile
from kogpt_bot.store.profanity import ProfanityTable

log = structlog.get_logger(__name__)

EVERY_S = 3600.0


class Retention:
    """Sweeps the log once an hour; the file follows the table, whoever erased there."""

    def __init__(
        self, table: ProfanityTable, clock: Clock, *, days: int, file: HitFile | None = None
    ) -> None:
        self._table = table
        self._clock = clock
        self._days = days
        self._file = file

    async def run(self) -> None:
        """Sweep until cancelled; a fault is logged and tried again in an hour."""
        while True:
            try:
                await self.sweep()
            except (StoreError, OSError) as error:
                log.warning("profanity_sweep_failed", why=str(error))
            await self._clock.sleep(EVERY_S)

    async def sweep(self) -> int:
        """Erase what is past its time; returns how many texts are gone."""
        gone = await self._table.erase_before(self._clock.now() - timedelta(days=self._days))
        if gone:
            log.info("profanity_erased", texts=gone, days=self._days)
        if self._file is not None:
            ids = await asyncio.to_thread(self._file.ids)
            if ids:
                left = await self._table.left(ids)
                blank = {hit for hit, has_texts in left.items() if not has_texts}
                await asyncio.to_thread(self._file.erase, ids - left.keys(), blank)
        return gone
