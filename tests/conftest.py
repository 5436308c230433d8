"""What tests of several rooms share: both kinds of database, and a store."""

import asyncio
import itertools
import os
import shutil
from pathlib import Path

# Read when triton is imported, which other libraries do: without a GPU, its kernels are interpreted.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

import pytest

from kogpt_bot.store import Store
from kogpt_bot.store.database import sqlite_url
from kogpt_bot.store.maintenance import upgrade_database
from tests.fakes.postgres import cluster, find_postgres

TEMPLATE = "kogpt_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres():
    """Run a PostgreSQL cluster for the tests that need one."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    with cluster() as running:
        running.sql(f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(upgrade_database(running.url(TEMPLATE)))
        yield running


@pytest.fixture
def postgres_url(postgres):
    """Return the URL of a database with the newest tables and nothing in them."""
    name = f"test{next(_numbers)}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return postgres.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """Return the URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "data" / "kogpt.sqlite3")
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """Return a file with the newest tables and nothing in them: to copy is faster than to make."""
    file = tmp_path_factory.mktemp("template") / "db.sqlite3"
    asyncio.run(upgrade_database(sqlite_url(file)))
    return file


@pytest.fixture
async def store(sqlite_template, tmp_path):
    """Give a store in a file of its own, `db.sqlite3`, with nothing in it."""
    file = shutil.copy(sqlite_template, tmp_path / "db.sqlite3")
    store = await Store.open(sqlite_url(file))
    yield store
    await store.close()
