"""The store: what is written is there again, once, in order, and only for its own channel."""

import asyncio
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kogpt_bot.errors import EXIT_CONFIGURATION, SchemaTooNew, StoreError
from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store import Reply, Store, TurnPlan, TurnState
from kogpt_bot.store.database import sqlite_url
from kogpt_bot.store.schema import alembic_config
from kogpt_bot.store.tables import metadata

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOM = ChannelKey("web", "방/1", thread="t%2")
BOT = Author("bot", "코코", is_bot=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "kogpt.sqlite3"


@pytest.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


@pytest.fixture
async def sqlite_store(path):
    store = await Store.open(sqlite_url(path))
    yield store
    await store.close()


def message(text="안녕", id_="m1", key=ROOM):
    return Incoming(key, id_, Author("u1", "민수"), text, NOW)


async def asked(store, text="안녕", id_="m1", key=ROOM):
    _, turn = await store.record(message(text, id_, key), NOW, TurnPlan("direct", 1))
    return turn


async def answered(store, turn, text="반가워요", id_="b1"):
    turn = await store.begin(turn, NOW)
    reply = Reply(((id_, text),), BOT, text)
    await store.finish(turn, TurnState.REPLIED, NOW, {"seed": 7}, reply)
    return turn


async def test_a_message_comes_back_as_it_was(store):
    korea = timezone(timedelta(hours=9))
    sent = datetime(2026, 1, 2, 12, 0, tzinfo=korea)
    await store.record(Incoming(ROOM, "m1", Author("u", "👩‍💻 수"), "가\n나", sent), NOW, None)
    (found,) = await store.history(ROOM, 10)
    assert (found.key, found.author.name, found.text) == (ROOM, "👩‍💻 수", "가\n나")
    assert found.sent_at == sent
    assert found.sent_at.tzinfo is not None


async def test_a_second_delivery_is_ignored(store):
    assert await store.record(message(), NOW, TurnPlan("direct")) is not None
    assert await store.record(message("다른 글"), NOW, TurnPlan("direct")) is None
    assert [m.text for m in await store.history(ROOM, 10)] == ["안녕"]
    assert await store.turn_states() == {"waiting": 1}


async def test_the_same_id_in_two_channels_is_two_messages(store):
    other = ChannelKey("web", "2")
    await store.record(message(), NOW, None)
    assert await store.record(message(key=other), NOW, None) is not None


async def test_a_channels_history_is_its_own_and_the_newest(store):
    other = ChannelKey("web", "2")
    for n in range(5):
        await store.record(message(f"우리 {n}", f"a{n}"), NOW, None)
        await store.record(message(f"남의 {n}", f"b{n}", other), NOW, None)
    assert [m.text for m in await store.history(ROOM, 3)] == ["우리 2", "우리 3", "우리 4"]


async def test_an_answer_follows_its_message(store):
    turn = await answered(store, await asked(store))
    assert turn.attempts == 1
    history = await store.history(ROOM, 10)
    assert [(m.text, m.by_this_bot) for m in history] == [("안녕", False), ("반가워요", True)]
    assert await store.turn_states() == {"replied": 1}
    found, reply = await store.last_replied(ROOM)
    assert (found.id, reply.text, reply.platform_ids) == (turn.id, "반가워요", ("b1",))


async def test_turns_left_open_are_found_again_after_a_restart(store, database_url):
    waiting = await asked(store, id_="m1")
    generating = await store.begin(await asked(store, id_="m2"), NOW)
    await answered(store, await asked(store, id_="m3"))
    await asked(store, id_="m4", key=ChannelKey("discord", "1"))
    again = await Store.open(database_url)
    found = await again.claim({"web"})
    await again.close()
    assert [(t.id, t.state, t.attempts) for t in found] == [
        (waiting.id, TurnState.WAITING, 0),
        (generating.id, TurnState.GENERATING, 1),
    ]


async def test_clearing_forgets_what_was_said_so_far_only(store):
    await answered(store, await asked(store))
    await store.clear(ROOM)
    await store.record(message("새 얘기", "m9"), NOW, None)
    assert [m.text for m in await store.history(ROOM, 10)] == ["새 얘기"]
    assert await store.last_replied(ROOM) is None


async def test_retracting_takes_the_answer_back_and_owes_a_new_one(store):
    await answered(store, await asked(store))
    first, _ = await store.last_replied(ROOM)
    again = await store.retract(first, TurnPlan("regenerate", 1), NOW)
    assert again.id != first.id
    assert (again.message.id, again.state, again.attempts) == (
        first.message.id,
        TurnState.WAITING,
        0,
    )
    assert [m.text for m in await store.history(ROOM, 10)] == ["안녕"]
    await answered(store, again, "다시 반가워요", "b2")
    assert [m.text for m in await store.history(ROOM, 10)] == ["안녕", "다시 반가워요"]


async def test_an_answer_stands_right_after_its_question(store):
    """The second question came while the first was being answered."""
    first = await asked(store, "첫 질문", "m1")
    second = await asked(store, "둘째 질문", "m2")
    await answered(store, first, "첫 답", "b1")
    assert [m.text for m in await store.history(ROOM, 10)] == ["첫 질문", "첫 답", "둘째 질문"]
    await answered(store, second, "둘째 답", "b2")
    assert [m.text for m in await store.history(ROOM, 3)] == ["첫 답", "둘째 질문", "둘째 답"]


async def test_fifty_writers_at_once_lose_nothing(store):
    keys = [ChannelKey("web", str(n)) for n in range(50)]
    await asyncio.gather(*(store.record(message(key=key), NOW, None) for key in keys))
    histories = await asyncio.gather(*(store.history(key, 5) for key in keys))
    assert all(len(history) == 1 for history in histories)


async def test_each_change_of_a_setting_is_audited(store):
    settings = store.settings
    await settings.set("web", "sampling.temperature", 0.5, by="u1", at=NOW)
    await settings.set("web", "sampling.temperature", 0.9, by="u2", at=NOW)
    await settings.set("web", "stream", False, by="u2", at=NOW)
    assert await settings.all() == {"web": {"sampling.temperature": 0.9, "stream": False}}
    assert await settings.reset("web", "sampling.temperature", by="u3", at=NOW)
    assert not await settings.reset("web", "sampling.temperature", by="u3", at=NOW)
    changes = [(c.key, c.old, c.new, c.changed_by) for c in await settings.changes("web")]
    assert changes == [
        ("sampling.temperature", 0.9, None, "u3"),
        ("stream", None, False, "u2"),
        ("sampling.temperature", 0.5, 0.9, "u2"),
        ("sampling.temperature", None, 0.5, "u1"),
    ]


async def test_what_was_acknowledged_is_on_disk(sqlite_store, path):
    store = sqlite_store
    await asked(store)
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT count(*) FROM turns").fetchone() == (1,)
    other.close()
    async with store._write() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2  # FULL


async def test_reading_goes_on_while_somebody_else_writes(sqlite_store, path):
    store = sqlite_store
    await asked(store)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert len(await asyncio.wait_for(store.history(ROOM, 5), 5)) == 1
    other.execute("ROLLBACK")
    other.close()


async def test_the_migrations_make_exactly_the_tables(store):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), metadata)

    async with store._read() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_migrations_can_be_taken_back(store):
    def back_and_forth(connection):
        command.downgrade(alembic_config(connection), "base")
        command.upgrade(alembic_config(connection), "head")
        return compare_metadata(MigrationContext.configure(connection), metadata)

    await asked(store)
    async with store._write() as connection:
        assert await connection.run_sync(back_and_forth) == []
    assert await store.turn_states() == {}


async def test_a_database_of_a_newer_program_is_refused_and_left_alone(path):
    await (await Store.open(sqlite_url(path))).close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    other.close()
    with pytest.raises(SchemaTooNew, match="9999") as error:
        await Store.open(sqlite_url(path))
    assert error.value.exit_code == EXIT_CONFIGURATION


async def test_a_file_that_is_no_database_is_an_error_in_one_line(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a database") as error:
        await Store.open(sqlite_url(path))
    assert "\n" not in str(error.value)
    assert path.read_bytes().startswith(b"not a database")


async def test_a_time_without_a_zone_is_refused(store):
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(StoreError, match="without a zone"):
        await store.settings.set("", "stream", True, by="u", at=naive)


async def test_an_edited_and_a_deleted_message(store):
    await store.record(message("사과", "1"), NOW, None)
    await store.record(message("배", "2"), NOW, None)
    edited = message("포도", "1")
    assert await store.amend(edited)
    stranger = replace(edited, author=Author("u9", "다른 사람"), text="남의 말")
    assert not await store.amend(stranger)
    assert not await store.amend(replace(edited, message_id="9"))
    assert await store.withdraw(edited.key, "2")
    assert [each.text for each in await store.history(edited.key, 10)] == ["포도"]


async def test_the_newest_message_of_each_channel(store):
    await store.record(message("하나", "1"), NOW, None)
    await store.record(message("둘", "2"), NOW, None)
    adapter = ROOM.adapter
    assert list((await store.newest(adapter, NOW - timedelta(hours=1))).values()) == ["2"]
    assert await store.newest(adapter, NOW + timedelta(hours=1)) == {}
    assert await store.newest("other", NOW - timedelta(hours=1)) == {}
