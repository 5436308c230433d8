"""Announcements: taken at once, sent one after the other, never in anybody's way."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from kogpt_bot.delivery.announcer import LONGEST_WAIT_S, MAX_WAITING, Announcer
from kogpt_bot.errors import Forbidden, RetryAfter
from kogpt_bot.messages import ChannelKey, Outgoing
from kogpt_bot.testing import FakeAdapter
from tests.fakes.clock import FakeClock

ROOM = ChannelKey("fake", "room")


class Adapter(FakeAdapter):
    """An adapter whose sends fail as told first."""

    def __init__(self):
        super().__init__()
        self.shown[ROOM] = {}
        self.failures = []

    async def send(self, key, message):
        if self.failures:
            raise self.failures.pop(0)
        return await super().send(key, message)


@asynccontextmanager
async def running(adapter):
    announcer = Announcer({"fake": adapter}, FakeClock())
    task = asyncio.create_task(announcer.run())
    try:
        yield announcer
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_they_are_sent_in_order():
    adapter = Adapter()
    async with running(adapter) as announcer:
        for text in ("하나", "둘"):
            announcer.announce(ROOM, Outgoing(text))
        assert await adapter.wait_for_final(2) == ["하나", "둘"]
        assert announcer.waiting == 0


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (RetryAfter(3), ["하나", "둘"]),
        (RetryAfter(LONGEST_WAIT_S + 1), ["둘"]),
        (Forbidden("no"), ["둘"]),
        (RuntimeError("a fault"), ["둘"]),
    ],
)
async def test_a_failure_is_no_obstacle_to_the_next_one(failure, shown):
    adapter = Adapter()
    adapter.failures = [failure]
    async with running(adapter) as announcer:
        for text in ("하나", "둘"):
            announcer.announce(ROOM, Outgoing(text))
        assert await adapter.wait_for_final(len(shown)) == shown


async def test_too_many_are_dropped_and_said():
    announcer = Announcer({}, FakeClock())
    with capture_logs() as logs:
        for _ in range(MAX_WAITING + 1):
            announcer.announce(ROOM, Outgoing("x"))
    assert announcer.waiting == MAX_WAITING
    assert [each["event"] for each in logs] == ["announcement_dropped"]
