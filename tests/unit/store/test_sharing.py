"""Several processes on one PostgreSQL: each channel is answered by one of them, in order, once."""

import asyncio
from datetime import UTC, datetime

import pytest

from kogpt_bot.delivery.keeper import BEAT_S, LEASE_S, LaneKeeper
from kogpt_bot.errors import TurnGone
from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store import Reply, Store, TurnPlan, TurnState
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BOT = Author("bot", "코코", is_bot=True)


@pytest.fixture
async def pair(postgres_url):
    """Return the stores of two processes."""
    stores = [await Store.open(postgres_url) for _ in range(2)]
    for store in stores:
        await store.join(NOW)
    yield stores
    for store in stores:
        await store.close()


async def ask(store, channel, number):
    key = ChannelKey("web", channel)
    message = Incoming(key, f"{channel}-{number}", Author("u", "민수"), f"{number}", NOW)
    recorded = await store.record(message, NOW, TurnPlan("direct"))
    return recorded and recorded[1]


async def answer(store, turn):
    turn = await store.begin(turn, NOW)
    await store.record_part(turn, 0, "답", NOW)
    reply = Reply(((f"b{turn.id}", "답"),), BOT, "답")
    await store.finish(turn, TurnState.REPLIED, NOW, {}, reply)


async def test_a_channel_belongs_to_who_has_its_first_open_turn(pair):
    one, other = pair
    first = await ask(one, "c", 1)
    second = await ask(other, "c", 2)
    assert first.ours
    assert not second.ours
    with pytest.raises(TurnGone):
        await other.begin(second, NOW)
    assert await other.claim({"web"}) == []
    assert [turn.id for turn in await one.claim({"web"})] == [first.id, second.id]
    await answer(one, first)
    await answer(one, second)
    assert (await ask(other, "c", 3)).ours  # it was freed with its last open turn


async def test_a_second_delivery_to_another_process_is_no_second_message(pair):
    one, other = pair
    results = await asyncio.gather(
        *(ask(store, "c", n) for n in range(20) for store in (one, other))
    )
    assert sum(turn is not None for turn in results) == 20
    assert await one.turn_states() == {"waiting": 20}


async def test_two_processes_share_what_was_left_open_and_no_channel_is_in_both(postgres_url, pair):
    before = await Store.open(postgres_url)
    for channel in range(100):
        for number in range(2):
            await ask(before, f"c{channel}", number)
    await before.leave()
    await before.close()
    one, other = pair
    claimed = await asyncio.gather(one.claim({"web"}), other.claim({"web"}))
    claimed = [
        turns + await store.claim({"web"}) for store, turns in zip(pair, claimed, strict=True)
    ]
    channels = [{turn.key for turn in turns} for turns in claimed]
    assert not channels[0] & channels[1]
    assert len(channels[0] | channels[1]) == 100
    for turns in claimed:
        ids = [turn.id for turn in turns if turn.key == turns[0].key]
        assert ids[: len(ids) // 2] or ids == sorted(ids)


async def test_only_the_adapters_that_run_here_are_claimed(pair):
    one, other = pair
    await ask(one, "c", 1)
    await one.leave()
    assert await other.claim({"discord"}) == []
    assert await other.claim({"we"}) == []
    assert len(await other.claim({"web", "discord"})) == 1


class NoLanes:
    """Lanes that only write down what is put."""

    closed = False

    def __init__(self):
        self.put_turns = []

    def holds(self, turn):
        return turn.id in [each.id for each in self.put_turns]

    def put(self, turn, *, age_s=0.0):
        self.put_turns.append(turn)


def keeper(store, clock):
    return LaneKeeper(store, NoLanes(), {"web"}, clock, resumes=True)


async def beats(keepers, clock, seconds):
    end = clock.monotonic() + seconds
    while clock.monotonic() < end:
        clock.time += BEAT_S
        for each in keepers:
            await each._beat()


async def test_who_is_silent_for_too_long_loses_its_channels(pair):
    clock = FakeClock()
    one, other = pair
    turn = await ask(one, "c", 1)
    ones, others = keeper(one, clock), keeper(other, clock)
    await beats([ones, others], clock, LEASE_S * 2)
    await others.take_up({"web"})
    assert others._lanes.put_turns == []  # both live
    await beats([others], clock, LEASE_S * 2)  # the first process sleeps
    await others.take_up({"web"})
    assert [each.id for each in others._lanes.put_turns] == [turn.id]
    with pytest.raises(TurnGone):  # it wakes up in the middle of its answer
        await one.record_part(turn, 0, "답", NOW)
    await ones._beat()  # and joins again
    assert await one.beat() is not None
    await answer(other, turn)


async def test_a_process_that_ends_leaves_its_channels_at_once(pair):
    one, other = pair
    turn = await ask(one, "c", 1)
    await one.leave()
    assert [each.id for each in await other.claim({"web"})] == [turn.id]


async def test_several_that_start_at_once_upgrade_once(postgres):
    postgres.sql("CREATE DATABASE fresh_for_many")
    stores = await asyncio.gather(*(Store.open(postgres.url("fresh_for_many")) for _ in range(4)))
    for store in stores:
        assert await store.turn_states() == {}
        await store.close()
