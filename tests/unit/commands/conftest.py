"""A store for each test."""

import pytest

from kogpt_bot.store import Store
from kogpt_bot.store.database import sqlite_url


@pytest.fixture
async def store(tmp_path):
    store = await Store.open(sqlite_url(tmp_path / "db.sqlite3"))
    yield store
    await store.close()
