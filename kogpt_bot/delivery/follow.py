"""Following what other processes change in a shared database: settings by command, and opt-outs."""

from __future__ import annotations

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.conversation.setting_values import check_overrides
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.opt_outs import OptOuts
from kogpt_bot.errors import StoreError
from kogpt_bot.store import Store

log = structlog.get_logger(__name__)

FOLLOW_S = 5.0  # a change by command holds everywhere after this


class Follower:
    """Reads anew, while `run` runs, what this process keeps in memory."""

    def __init__(self, store: Store, book: ChannelBook, people: OptOuts, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._people = people
        self._clock = clock

    async def run(self) -> None:
        """Follow until cancelled; while the database fails, what was read last holds."""
        while True:
            await self._clock.sleep(FOLLOW_S)
            try:
                command, _ = check_overrides(await self._store.settings.all())
                self._book.take_commands(command)
                await self._people.load()
            except StoreError as error:
                log.debug("not_followed", why=str(error))
