"""Group commit: what comes together shares a transaction, and no one's trouble is another's."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import event

from kogpt_bot.errors import StoreError
from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store import Store, TurnPlan, TurnState, recording

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


def message(number, *, channel="c", text="안녕", at=NOW):
    return Incoming(ChannelKey("web", channel), f"m{number}", Author("u", "민수"), text, at)


async def test_what_comes_together_shares_a_transaction(store):
    commits = []
    event.listen(store._database._engine.sync_engine, "commit", commits.append)
    await asyncio.gather(*(store.record(message(n), NOW, None) for n in range(200)))
    assert len(commits) == 200 / recording.GROUP
    history = await store.history(ChannelKey("web", "c"), 300)
    assert [each.platform_id for each in history] == [f"m{n}" for n in range(200)]


async def test_a_message_that_comes_twice_at_once_is_recorded_once(store):
    plan = TurnPlan("direct")
    results = await asyncio.gather(*(store.record(message(1), NOW, plan) for _ in range(3)))
    assert [result is None for result in results] == [False, True, True]
    assert await store.turn_states() == {"waiting": 1}


async def test_a_message_that_the_database_refuses_spoils_no_other(store):
    naive = NOW.replace(tzinfo=None)
    results = await asyncio.gather(
        *(store.record(message(n), naive if n == 3 else NOW, None) for n in range(6)),
        return_exceptions=True,
    )
    assert [isinstance(each, StoreError) for each in results] == [n == 3 for n in range(6)]


async def test_text_that_no_database_takes_is_made_storable(store):
    await store.record(message(1, text="널\0 반쪽\ud83d"), NOW, None)
    (found,) = await store.history(ChannelKey("web", "c"), 9)
    assert found.text == "널\ufffd 반쪽?"


async def test_who_gives_up_waiting_disturbs_nobody(store):
    tasks = [asyncio.create_task(store.record(message(n), NOW, None)) for n in range(3)]
    await asyncio.sleep(0)
    for task in tasks[:2]:
        task.cancel()
    assert await tasks[2] is not None
    again = asyncio.create_task(store.record(message(9), NOW, None))
    await asyncio.sleep(0)
    again.cancel()
    await asyncio.wait([again])
    assert await store.record(message(10), NOW, None) is not None


async def test_a_database_that_is_far_behind_takes_nothing_more(store, monkeypatch):
    monkeypatch.setattr(recording, "WAITING", 5)
    results = await asyncio.gather(
        *(store.record(message(n), NOW, None) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, StoreError) for each in results) == 3


async def test_a_turn_that_joins_closes_the_earlier_one(store):
    _, first = await store.record(message(1), NOW, TurnPlan("direct"))
    _, second = await store.record(message(2), NOW, TurnPlan("direct", joins=first.id))
    assert second.joined == first.id
    await store.begin(second, NOW)
    await store.record_part(second, 0, "답", NOW)
    _, third = await store.record(message(3), NOW, TurnPlan("direct", joins=second.id))
    assert third.joined is None  # the second is being shown
    assert await store.turn_states() == {"replied": 1, "sending": 1, "waiting": 1}


async def test_a_turned_away_message_ends_as_refused(store):
    _, turn = await store.record(message(1), NOW, TurnPlan("direct", refused="busy"))
    assert turn.state is TurnState.REFUSED
    assert await store.turn_states() == {"refused": 1}


async def test_after_the_end_nothing_is_taken(database_url):
    store = await Store.open(database_url)
    waiting = asyncio.create_task(store.record(message(1), NOW, None))
    await asyncio.sleep(0)
    await store.close()
    assert await waiting is not None
    with pytest.raises(StoreError, match="closed"):
        await store.record(message(2), NOW, None)
