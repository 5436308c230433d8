"""Lanes: order within a channel, fairness between channels, limits, and a clean end."""

import asyncio
from datetime import UTC, datetime

import pytest

from kogpt_bot.clock import SystemClock
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.messages import Author, ChannelKey
from kogpt_bot.store import StoredMessage, Turn, TurnState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def turn(channel: str, number: int) -> Turn:
    key = ChannelKey("fake", channel)
    message = StoredMessage(number, key, str(number), Author("u", "민수"), False, "안녕", "", NOW)
    return Turn(number, message, TurnState.WAITING, "direct", 0, 0, NOW)


class Work:
    """Answers a turn when it is told to."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.open = True
        self.many = asyncio.Event()

    async def __call__(self, job) -> None:
        turn = job.turn
        self.started.append((turn.key.channel, turn.id))
        if not self.open:
            await self.gates.setdefault(turn.id, asyncio.Event()).wait()
        await asyncio.sleep(0)
        if len(self.started) >= 11:
            self.many.set()


def lanes(work, **limits):
    return Lanes(
        work, SystemClock(), **({"per_channel": 8, "total": 256, "concurrency": 16} | limits)
    )


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_channels_turns_are_answered_in_order_one_at_a_time():
    work = Work()
    work.open = False
    under_test = lanes(work)
    for n in range(3):
        under_test.put(turn("a", n))
    await settle()
    assert work.started == [("a", 0)]
    for n in range(3):
        work.gates[n].set()
        await settle()
    assert work.started == [("a", 0), ("a", 1), ("a", 2)]


async def test_a_busy_channel_does_not_starve_the_others():
    work = Work()
    under_test = lanes(work, concurrency=1, per_channel=10)
    for n in range(10):
        under_test.put(turn("busy", n))
    under_test.put(turn("quiet", 99))
    async with asyncio.timeout(5):
        await work.many.wait()
    assert work.started.index(("quiet", 99)) <= 2


async def test_both_limits_hold():
    work = Work()
    work.open = False
    under_test = lanes(work, per_channel=2, total=3, concurrency=1)
    a, b = ChannelKey("fake", "a"), ChannelKey("fake", "b")
    under_test.put(turn("a", 0))
    await settle()  # it is being answered and waits no more
    for n in (1, 2):
        assert under_test.has_room(a)
        under_test.put(turn("a", n))
    assert not under_test.has_room(a)
    assert under_test.has_room(b)
    under_test.put(turn("b", 3))
    assert not under_test.has_room(b)
    assert under_test.waiting == 3
    await under_test.close(0)


async def test_an_error_in_one_turn_leaves_the_lane_alive():
    seen = []

    async def work(job):
        seen.append(job.turn.id)
        if job.turn.id == 0:
            raise RuntimeError("a fault in the code")

    under_test = lanes(work)
    under_test.put(turn("a", 0))
    under_test.put(turn("a", 1))
    await settle()
    assert seen == [0, 1]


async def test_waiting_turns_can_be_dropped():
    work = Work()
    work.open = False
    under_test = lanes(work)
    for n in range(3):
        under_test.put(turn("a", n))
    await settle()
    assert [t.id for t in under_test.drop_waiting(ChannelKey("fake", "a"))] == [1, 2]
    work.gates[0].set()
    await settle()
    assert work.started == [("a", 0)]
    assert under_test.waiting == 0


@pytest.mark.parametrize("patience", [0.0, 0.05])
async def test_closing_cancels_what_is_late_and_starts_nothing_new(patience):
    work = Work()
    work.open = False
    under_test = lanes(work)
    under_test.put(turn("a", 0))
    under_test.put(turn("a", 1))
    await settle()
    await under_test.close(patience)
    under_test.put(turn("b", 2))
    await settle()
    assert work.started == [("a", 0)]
    # What comes in now is stored and waits for the next start: it is not refused.
    assert under_test.has_room(ChannelKey("fake", "b"))
