"""Opening the database: the engine, SQLite's pragmas, and migrations to the newest schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kogpt_bot.errors import SchemaTooNew, StoreError

READ_ONLY = "kogpt_bot_read_only"  # execution option of a connection that only reads
BUSY_TIMEOUT_MS = 30_000  # another process may hold the write lock through a backup


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite database file."""
    return f"sqlite+aiosqlite:///{path}"


async def open_engine(url: str) -> AsyncEngine:
    """Open the database at `url` and bring its schema up to date.

    Raises SchemaTooNew for a database of a newer kogpt-bot and StoreError when it cannot be
    opened; the message names the database without its password.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_async_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(engine)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    except (SQLAlchemyError, OSError) as error:
        await engine.dispose()
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        where = parsed.render_as_string(hide_password=True)
        raise StoreError(f"cannot open the database {where}: {reason}") from error
    except StoreError:
        await engine.dispose()
        raise
    return engine


def _prepare_sqlite(engine: AsyncEngine) -> None:
    """Set what every connection needs.

    A writing transaction begins IMMEDIATE: it waits for its turn at the start and never fails in
    the middle because a reader became a writer.
    """

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN is switched off
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",  # an acknowledged message survives a power cut
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the migrations of this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    config = alembic_config(connection)
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None:
        try:
            script.get_revision(current)
        except CommandError:
            raise SchemaTooNew(
                f"the database has schema {current}, written by a newer kogpt-bot; "
                f"this one knows up to {script.get_current_head()}: install the newer version"
            ) from None
    command.upgrade(config, "head")
