"""The sweeper keeps going, and a vacuum gets a small share of the time."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from kogpt_bot.config import PrivacySettings
from kogpt_bot.errors import StoreError
from kogpt_bot.ops.sweeper import EVERY_S, RESTS_FOR, Sweeper
from tests.fakes.clock import FakeClock


class Kept:
    """A store that writes down what it is told to erase."""

    def __init__(self, clock):
        self.clock, self.asked, self.failures = clock, [], []
        self.retention = self

    async def _erase(self, what, before):
        if self.failures:
            raise self.failures.pop(0)
        self.asked.append((what, self.clock.now() - before))
        return 1

    async def erase_messages(self, before):
        return await self._erase("messages", before)

    async def erase_reports(self, before):
        return await self._erase("reports", before)

    async def erase_audits(self, before):
        return await self._erase("audits", before)


class Vacuum:
    def __init__(self, clock):
        self.clock, self.begun, self.failures = clock, [], []
        self.ran = asyncio.Event()

    async def __call__(self):
        self.begun.append(self.clock.monotonic())
        await self.clock.sleep(2)
        self.ran.set()
        if self.failures:
            raise self.failures.pop(0)


@pytest.fixture
def clock():
    return FakeClock()


@asynccontextmanager
async def sweeping(clock):
    store, vacuum = Kept(clock), Vacuum(clock)
    sweeper = Sweeper(store, vacuum, PrivacySettings(history_days=7), clock)
    task = asyncio.create_task(sweeper.run())
    try:
        yield sweeper, store, vacuum
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_it_sweeps_each_hour_and_after_a_fault(clock):
    async with sweeping(clock) as (_, store, vacuum):
        await until(lambda: len(store.asked) >= 6)
        assert store.asked[:3] == [
            ("messages", timedelta(days=7)),
            ("reports", timedelta(days=30)),
            ("audits", timedelta(days=365)),
        ]
        assert clock.monotonic() >= 1000 + EVERY_S
        store.failures.append(StoreError("locked"))
        seen = len(store.asked)
        await until(lambda: len(store.asked) >= seen + 3)
        assert vacuum.begun == []


async def test_changed_times_hold_from_the_next_sweep_on(clock):
    async with sweeping(clock) as (sweeper, store, _):
        await until(lambda: len(store.asked) >= 3)
        sweeper.replace(PrivacySettings(history_days=1))
        await until(lambda: ("messages", timedelta(days=1)) in store.asked)


async def test_erasures_are_followed_by_a_vacuum_that_rests_for_its_time(clock):
    async with sweeping(clock) as (sweeper, _, vacuum):
        sweeper.erased()
        sweeper.erased()
        await vacuum.ran.wait()
        sweeper.erased()
        await until(lambda: len(vacuum.begun) == 2)
        assert vacuum.begun[1] - vacuum.begun[0] >= 2 + RESTS_FOR * 2


async def test_a_vacuum_that_failed_is_tried_again(clock):
    async with sweeping(clock) as (sweeper, _, vacuum):
        vacuum.failures.append(StoreError("the database is locked"))
        sweeper.erased()
        await until(lambda: len(vacuum.begun) == 2)
