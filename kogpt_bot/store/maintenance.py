"""Looking after the database, also while it is used: upgrade, check, back up, vacuum.

SQLite's own tools do the work; where the database is PostgreSQL, its own tools are better than
ours, and are named.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection

from kogpt_bot.errors import StoreError
from kogpt_bot.store.database import Database, failures, make_engine, parse_url, reason, sqlite_file
from kogpt_bot.store.schema import current_revision, newest_revision

LOCKED_S = 60.0  # a vacuum waits for the daemon's transactions, which are short


@dataclass(frozen=True, slots=True)
class Upgraded:
    """From which schema to which a database was brought; "" for an empty one."""

    before: str
    after: str


async def upgrade_database(url: str) -> Upgraded:
    """Bring the schema up to date, as a start of the daemon does; SchemaTooNew, StoreError."""
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    before = "" if file is not None and not file.exists() else await _revision(parsed)
    await (await Database.open(url)).close()
    return Upgraded(before, await _revision(parsed))


async def check_database(url: str) -> list[str]:
    """Return what is wrong with a database, nothing changed; StoreError when it cannot be read."""
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    if file is not None:
        _demand(file)
        faults = await asyncio.to_thread(_check_file, file)
        if faults:
            return faults
    revision = await _revision(parsed)
    if revision != newest_revision():
        return [
            f"the schema is {revision or 'empty'}, this version's is {newest_revision()}; "
            "kogpt-bot db upgrade, or a start of the daemon, brings it up to date"
        ]
    return []


async def back_up(url: str, target: Path) -> int:
    """Copy a database into a new file, consistent also while it is written to; return its bytes.

    Raises StoreError where that cannot be done; a half-written copy does not stay.
    """
    file = sqlite_file(parse_url(url))
    if file is None:
        raise StoreError(
            "the database is PostgreSQL; back it up with its own tool: "
            "pg_dump --format=custom --file=FILE DATABASE"
        )
    _demand(file)
    try:
        return await asyncio.to_thread(_copy, file, target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{target} cannot be written: {error}") from error


async def vacuum(url: str) -> tuple[int, int]:
    """Give room that is not used back to the system; return the bytes before and after.

    Of PostgreSQL, which does this by itself, the statistics are refreshed; 0 bytes are returned.
    """
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    if file is None:
        await _vacuum_postgres(parsed)
        return 0, 0
    _demand(file)
    before = file.stat().st_size
    try:
        await asyncio.to_thread(_vacuum_file, file)
    except sqlite3.Error as error:
        raise StoreError(f"{file} cannot be vacuumed now: {error}") from error
    return before, file.stat().st_size


def _demand(file: Path) -> None:
    if not file.is_file():
        raise StoreError(f"there is no database {file}; a start of the daemon makes it")


def _check_file(file: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(file, timeout=LOCKED_S)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
            faults = [line for line in found if line != "ok"]
            for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                faults.append(f"{table}, row {row}: what it refers to in {parent} is not there")
            return faults
    except sqlite3.DatabaseError as error:
        return [str(error)]


def _copy(file: Path, target: Path) -> int:
    """Copy by SQLite's online backup, in one step: a reader, which stops no writer."""
    if target.exists():
        raise StoreError(f"{target} exists already; name another file")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without companions
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(f"the copy is not sound: {found}")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def _vacuum_file(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=LOCKED_S, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _vacuum_postgres(url: URL) -> None:
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            bare = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await bare.exec_driver_sql("VACUUM (ANALYZE)")
    except failures(url) as error:
        raise StoreError(f"the database cannot be vacuumed: {reason(error)}") from error
    finally:
        await engine.dispose()


async def _revision(url: URL) -> str:
    """Return the schema that a database has, "" for none."""

    def read(connection: Connection) -> str:
        return current_revision(connection) or ""

    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(read)
    except failures(url) as error:
        where = url.render_as_string(hide_password=True)
        raise StoreError(f"cannot read the database {where}: {reason(error)}") from error
    finally:
        await engine.dispose()
