"""What is past its time goes; what is not, or is still owed, stays."""

from datetime import UTC, datetime, timedelta

import pytest

from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store import Reply, Store, TurnPlan, TurnState
from kogpt_bot.store.people import Report
from kogpt_bot.store.retention import BATCH

NOW = datetime(2026, 6, 30, tzinfo=UTC)
ROOM = ChannelKey("fake", "room")
BOT = Author("bot", "코코", is_bot=True)


@pytest.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


async def record(store, number, days, *, plan=None, key=ROOM):
    at = NOW - timedelta(days=days)
    message = Incoming(key, f"m{number}", Author("u1", "민수"), f"말 {number}", at)
    return await store.record(message, at, plan)


async def texts(store, key=ROOM):
    return [message.text for message in await store.history(key, 1000)]


async def test_old_messages_go_with_their_answers_and_opinions(store):
    _stored, turn = await record(store, 1, 40, plan=TurnPlan("direct"))
    old = NOW - timedelta(days=40)
    reply = await store.finish(
        await store.begin(turn, old), TurnState.REPLIED, old, {}, Reply((("b1", "답"),), BOT, "답")
    )
    await store.people.judge(reply.id, "p", "good", old)
    await record(store, 2, 10)
    assert await store.retention.erase_messages(NOW - timedelta(days=30)) == 2
    assert await texts(store) == ["말 2"]
    assert (await store.export.of("p", "fake", "u1"))["feedback"] == []
    assert await store.turn_states() == {}
    assert await store.retention.erase_messages(NOW - timedelta(days=30)) == 0


async def test_many_batches(store):
    for number in range(BATCH + 20):
        await record(store, number, 50)
    await record(store, "new", 1)
    assert await store.retention.erase_messages(NOW - timedelta(days=30)) == BATCH + 20
    assert await texts(store) == ["말 new"]


async def test_what_is_still_owed_an_answer_stays(store):
    await record(store, 1, 40, plan=TurnPlan("direct"))
    assert await store.retention.erase_messages(NOW - timedelta(days=30)) == 0
    assert await texts(store) == ["말 1"]


async def test_channels_that_are_left_empty_go(store):
    await record(store, 1, 40)
    await store.retention.erase_messages(NOW - timedelta(days=30))
    await record(store, 2, 0)  # the channel's row is made anew
    assert await texts(store) == ["말 2"]
    await store.retention.erase_messages(NOW - timedelta(days=30))
    assert await texts(store) == ["말 2"]


async def test_reports_and_audits_have_their_own_time(store):
    for days in (400, 5):
        at = NOW - timedelta(days=days)
        await store.people.report(Report(at, str(ROOM), "p", "q", "", "질문", f"답 {days}"))
        await store.settings.set("fake", "stream", True, by="p", at=at)
    assert await store.retention.erase_reports(NOW - timedelta(days=30)) == 1
    assert [each["answer"] for each in await store.people.reports()] == ["답 5"]
    assert await store.retention.erase_audits(NOW - timedelta(days=365)) == 1
    assert len(await store.settings.changes("fake")) == 1
    assert await store.settings.all() == {"fake": {"stream": True}}
