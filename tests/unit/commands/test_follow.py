"""Several daemons of one database: what one changes, the others take over."""

from datetime import UTC, datetime

from kogpt_bot.commands.follow import catch_up
from kogpt_bot.messages import ActionKind
from kogpt_bot.store import Store
from kogpt_bot.store.database import sqlite_url
from tests.fakes.core import PERSON, ROOM, running


async def test_settings_and_opt_outs_of_another_daemon(store, tmp_path):
    other = await Store.open(sqlite_url(tmp_path / "db.sqlite3"))
    try:
        async with running(store) as here, running(other) as there:
            seen = await catch_up(there.parts, ())
            await here.act(ActionKind.SET, name="stream", value="off")
            await here.act(ActionKind.OPT_OUT)
            assert there.book.effective(ROOM).settings.stream
            assert not there.people.has("fake", PERSON.id)
            seen = await catch_up(there.parts, seen)
            assert not there.book.effective(ROOM).settings.stream
            assert there.people.has("fake", PERSON.id)
            await here.act(ActionKind.RESET)
            await here.act(ActionKind.OPT_IN)
            await catch_up(there.parts, seen)
            assert there.book.effective(ROOM).settings.stream
            assert not there.people.has("fake", PERSON.id)
    finally:
        await other.close()


async def test_nothing_is_read_anew_while_nothing_changes(store):
    async with running(store) as core:
        await core.people.add("somebody", datetime.now(UTC))
        seen = await catch_up(core.parts, ())
        core.people._people.clear()
        assert await catch_up(core.parts, seen) == seen
        assert "somebody" not in core.people
