"""Looking after the database: corrupt files set aside, checks, copies, vacuum."""

import asyncio
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from kogpt_bot.errors import StoreError
from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store import Store
from kogpt_bot.store.corrupt import set_aside
from kogpt_bot.store.database import sqlite_url
from kogpt_bot.store.maintenance import back_up, check_database, upgrade_database, vacuum

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROOM = ChannelKey("web", "1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kogpt.sqlite3"


async def filled(path, count=300):
    store = await Store.open(sqlite_url(path))
    await asyncio.gather(*(say(store, f"m{n}") for n in range(count)))
    return store


async def say(store, id_):
    message = Incoming(ROOM, id_, Author("u", "민수"), "떡볶이가 좋아 " * 20, NOW)
    return await store.record(message, NOW, None)


def spoil(path):
    """Overwrite the middle of the file: the table of messages, not the header."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(8 * 4096, size, 4096):
            file.seek(place)
            file.write(os.urandom(4096))


def aside(path):
    return sorted(each.name for each in path.parent.iterdir() if ".corrupt-" in each.name)


async def test_a_corrupt_file_is_set_aside_at_the_start_and_a_fresh_one_begun(path, capsys):
    await (await filled(path)).close()
    spoil(path)
    spoiled = path.read_bytes()
    store = await Store.open(sqlite_url(path), heals=True)
    assert await store.history(ROOM, 9) == []
    assert await say(store, "new") is not None
    await store.close()
    (name,) = aside(path)
    assert (path.parent / name).read_bytes() == spoiled  # nothing of it is lost
    said = capsys.readouterr().out
    assert "database_corrupt" in said
    assert name in said


def test_the_write_ahead_log_goes_with_its_file(path):
    names = ["kogpt.sqlite3", "kogpt.sqlite3-wal", "kogpt.sqlite3-shm"]
    for name in names:
        path.with_name(name).write_text(name)
    first = set_aside(path, NOW)
    assert first.name == "kogpt.sqlite3.corrupt-20260102T000000Z"
    assert aside(path) == sorted(first.name + end for end in ("", "-wal", "-shm"))
    assert first.with_name(first.name + "-wal").read_text() == "kogpt.sqlite3-wal"
    path.write_text("again")
    assert set_aside(path, NOW).name == "kogpt.sqlite3.corrupt-20260102T000000Z-2"


async def test_a_file_that_breaks_while_it_is_used_is_set_aside_too(path):
    await (await filled(path, 2000)).close()
    store = await Store.open(sqlite_url(path), heals=True)
    spoil(path)
    failures = []
    for number in range(20):
        try:
            await store.history(ROOM, 2000)
            await say(store, f"again{number}")
        except StoreError as error:
            failures.append(str(error))
    assert len(failures) == 1  # the next one met a fresh file
    assert "malformed" in failures[0]
    assert await say(store, "after") is not None
    assert (await store.history(ROOM, 99))[-1].platform_id == "after"
    assert len([name for name in aside(path) if not name.endswith(("-wal", "-shm"))]) == 1
    await store.close()


async def test_who_does_not_own_the_file_leaves_it_alone(path):
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        await Store.open(sqlite_url(path))
    assert aside(path) == []


async def test_a_check_finds_what_is_wrong_and_changes_nothing(path):
    url = sqlite_url(path)
    with pytest.raises(StoreError, match="there is no database"):
        await check_database(url)
    await (await filled(path)).close()
    assert await check_database(url) == []
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE alembic_version SET version_num = '0001'")
        other.commit()
    (fault,) = await check_database(url)
    assert "the schema is 0001" in fault
    spoil(path)
    before = path.read_bytes()
    assert await check_database(url)
    assert path.read_bytes() == before


async def test_a_backup_is_whole_while_others_write(path, tmp_path):
    store = await filled(path)
    target = tmp_path / "copies.sqlite3"
    writing = asyncio.gather(*(say(store, f"meanwhile{n}") for n in range(200)))
    assert await back_up(sqlite_url(path), target) == target.stat().st_size
    await writing
    await store.close()
    assert target.stat().st_mode & 0o777 == 0o600
    assert await check_database(sqlite_url(target)) == []
    copy = await Store.open(sqlite_url(target))
    assert len(await copy.history(ROOM, 1000)) >= 300
    await copy.close()
    with pytest.raises(StoreError, match="exists already"):
        await back_up(sqlite_url(path), target)
    assert list(tmp_path.glob("*.part")) == []


async def test_the_backup_of_postgresql_is_its_own_tools_work(tmp_path):
    with pytest.raises(StoreError, match="pg_dump"):
        await back_up("postgresql+asyncpg://nobody@127.0.0.1/none", tmp_path / "copy")


async def test_a_vacuum_gives_room_back_while_the_store_is_open(path):
    store = await filled(path, 2000)
    async with store._write() as connection:
        await connection.exec_driver_sql("DELETE FROM messages")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before, after = await vacuum(sqlite_url(path))
    assert after < before / 2
    assert await say(store, "after") is not None
    await store.close()


async def test_an_upgrade_says_from_where_to_where(path):
    url = sqlite_url(path)
    first = await upgrade_database(url)
    again = await upgrade_database(url)
    assert (first.before, first.after) == ("", again.after)
    assert again.before == again.after
