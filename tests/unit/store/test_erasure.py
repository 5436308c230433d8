"""Erasing a person: not a byte of what they said, are called, or are known by stays."""

from datetime import UTC, datetime

import pytest

from kogpt_bot.messages import ActionKind, Author, ChannelKey, ScopeLevel
from kogpt_bot.store import Store
from kogpt_bot.store.database import sqlite_url
from kogpt_bot.store.maintenance import vacuum
from kogpt_bot.store.tables import metadata
from tests.fakes.core import running

ME = Author("7700112233445566", "홍길동특이")
OTHER = Author("u2", "지은")
MINE = ChannelKey("fake", ME.id)  # a private chat whose address is the person's id
SECRET = "떡볶이비밀"
NOW = datetime.now(UTC)

# What becomes of each table's rows; docs/privacy.md says the same to people.
TABLES = {
    "processes": "nothing of people",
    "channels": "those of a private chat with the person go",
    "messages": "theirs are emptied, answers to them go, answers that name them are emptied",
    "turns": "closed, and how they ended is no longer said",
    "outbox": "goes with the turn",
    "settings": "who changed it becomes nobody; a private chat's go",
    "settings_audit": "the same",
    "opt_outs": "stays, a keyed hash: without it they would be remembered again",
    "feedback": "goes",
    "reports": "those by them, of answers to them, and that name them go",
    "profanity_texts": "those by them and in answer to them go; prompts with their words are emptied",
    "profanity_hits": "goes with the text",
    "profanity_reviews": "goes with the hit",
    "profanity_allowed": "phrases that reviews allowed; a private chat's go",
}


TABLES_OF = metadata.sorted_tables


@pytest.fixture
async def path(tmp_path):
    return tmp_path / "db.sqlite3"


@pytest.fixture
async def store(path):
    store = await Store.open(sqlite_url(path))
    yield store
    await store.close()


def test_what_becomes_of_every_table_is_known():
    assert set(TABLES) == set(metadata.tables), "say here and in docs/privacy.md what is erased"


def left(path, *needles):
    """Return how often each text stands in the database's files, as bytes."""
    files = [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")]
    data = b"".join(file.read_bytes() for file in files if file.exists())
    forms = lambda text: {text.encode(), text.encode("utf-16-le"), ascii(text)[1:-1].encode()}  # noqa: E731
    return {text: sum(data.count(form) for form in forms(text)) for text in needles}


async def live(core):
    """Let the person leave traces of every kind, among others who stay."""
    core.model.scripts = [
        [f" {ME.name} 님의 {SECRET} 잘 들었어요"],
        [" 씨발 뭐라고요"],
        [f" 아까 {ME.name}이 {SECRET} 이야기를 했어요"],
        [" 그냥 하는 말이에요"],
    ]
    await core.adapter.say(f"내 {SECRET} 말해 줄게", author=ME)
    await core.settle(replied=1)
    await core.adapter.say(f"씨발 {SECRET}", author=ME)
    await core.settle(replied=2)
    await core.adapter.say("누가 뭐래?", author=OTHER)
    await core.settle(replied=3)
    naming = list(core.adapter.shown[ChannelKey("fake", "room")])[-1]
    await core.adapter.say("안녕", author=OTHER, channel="quiet")
    await core.settle(replied=4)
    await core.adapter.say(f"{SECRET} 혼잣말", author=ME, channel=ME.id, direct=True)
    await core.settle(replied=5)
    await core.act(ActionKind.GOOD, author=ME)
    await core.act(ActionKind.REPORT, author=ME, value=f"{SECRET} 때문에")
    await core.act(ActionKind.REPORT, author=OTHER, message_id=naming, value="이름이 나와요")
    await core.act(ActionKind.SET, author=ME, name="stream", value="off")
    await core.act(ActionKind.SET, author=ME, key=MINE, name="stream", value="off")


async def erase(store, core, **where):
    person = core.pseudonyms.person("fake", ME.id)
    return await store.erasure.erase(person, "fake", ME.id, **where)


async def test_erased_everywhere_leaves_no_byte(store, path):
    async with running(store) as core:
        await live(core)
        person = core.pseudonyms.person("fake", ME.id)
        before = left(path, SECRET, ME.name, ME.id, person)
        assert all(before.values()), before
        assert await erase(store, core) == 3
        await vacuum(sqlite_url(path))
        assert left(path, SECRET, ME.name, ME.id, person) == dict.fromkeys(before, 0)
        export = await store.export.of(person, "fake", ME.id)
        assert not any(export[part] for part in ("messages", "answers", "feedback", "reports"))
        quiet = await store.history(ChannelKey("fake", "quiet"), 9)
        assert [m.text for m in quiet] == ["안녕", "그냥 하는 말이에요"]
        room = await store.history(ChannelKey("fake", "room"), 9)
        assert [m.text for m in room] == ["누가 뭐래?"]
        changes = await store.settings.changes("fake/-/room")
        assert [(change.key, change.changed_by) for change in changes] == [("stream", "")]


async def rows(store):
    """Return everything that the database says, as text."""
    async with store._read() as connection:
        found = [(await connection.execute(table.select())).all() for table in TABLES_OF]
    return repr(found)


async def test_erased_everywhere_leaves_no_row_on_postgresql(postgres_url):
    store = await Store.open(postgres_url)
    async with running(store) as core:
        await live(core)
        person = core.pseudonyms.person("fake", ME.id)
        said = await rows(store)
        assert all(text in said for text in (SECRET, ME.name, ME.id, person))
        assert await erase(store, core) == 3
        await vacuum(postgres_url)
        said = await rows(store)
        assert not any(text in said for text in (SECRET, ME.name, ME.id, person))
        assert "그냥 하는 말이에요" in said
    await store.close()


async def test_a_private_chat_that_was_erased_goes_on(store, path):
    async with running(store) as core:
        await live(core)
        await erase(store, core)
        await core.adapter.say("새로 시작해요", author=ME, channel=ME.id, direct=True)
        texts = [m.text for m in await store.history(MINE, 9)]
        assert texts[0] == "새로 시작해요"


async def test_a_second_daemon_or_the_command_line_may_erase(store, path):
    other = await Store.open(sqlite_url(path))
    try:
        async with running(store) as core:
            await live(core)
            await erase(other, core)
            await vacuum(sqlite_url(path))
            assert left(path, SECRET, ME.name, ME.id) == {SECRET: 0, ME.name: 0, ME.id: 0}
            await core.adapter.say("아직 있나요?", author=ME, channel=ME.id, direct=True)
            assert [m.text for m in await store.history(MINE, 1)] != []
    finally:
        await other.close()


async def test_in_one_channel_the_others_stay(store, path):
    async with running(store) as core:
        await live(core)
        assert await erase(store, core, key=ChannelKey("fake", "room")) == 2
        assert next(m.text for m in await store.history(MINE, 9)) == f"{SECRET} 혼잣말"
        room = [m.text for m in await store.history(ChannelKey("fake", "room"), 9)]
        assert room == ["누가 뭐래?"]


async def test_nobody_else_is_erased(store):
    async with running(store) as core:
        await core.adapter.say("내 말", author=Author("12", "민"))
        await core.adapter.say("남의 말", author=Author("123", "수"))
        await core.settle(replied=2)
        core.model.scripts = [[" 만민이 다 아는 사실이에요"]]
        await core.adapter.say("셋째", author=OTHER)
        await core.settle(replied=3)
        await store.erasure.erase("nobody", "fake", "12")
        room = [m.text for m in await store.history(ChannelKey("fake", "room"), 9)]
        # A name of one syllable within another word is no name.
        assert room == ["남의 말", "답 2", "셋째", "만민이 다 아는 사실이에요"]
        assert await store.erasure.erase("nobody", "other", "123") == 0


async def test_settings_of_the_platform_stay(store):
    async with running(store, owners={"fake": (ME.id,)}) as core:
        await core.act(
            ActionKind.SET, author=ME, level=ScopeLevel.PLATFORM, name="stream", value="off"
        )
        await erase(store, core)
        assert await store.settings.all() == {"fake": {"stream": False}}
