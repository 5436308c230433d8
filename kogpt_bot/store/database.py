"""The database: its engine, its transactions, its errors in our words, and the newest schema."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kogpt_bot.errors import RowRefused, StoreError
from kogpt_bot.store.corrupt import (
    QUICK_CHECK_BYTES,
    find_corruption,
    set_aside,
    speaks_of_corruption,
)
from kogpt_bot.store.schema import upgrade

log = structlog.get_logger(__name__)

DATABASE = "kogpt.sqlite3"  # the file in data_dir
READ_ONLY = "kogpt_bot_read_only"  # execution option of a connection that only reads
BUSY_TIMEOUT_MS = 35_000  # another process may hold the write lock for 30 s: a backup, a check

# Each connection to a file has a thread, and a cache of pages that grows with the file. The one
# that was used last is used next, so that most of the time there are two; those of a rush beyond
# the first number are closed after it.
FILE_CONNECTIONS = 4
RUSH_CONNECTIONS = 11
PAGE_CACHE_KIB = 512

CONNECTIONS = 10  # to a server
CONNECT_S = 5.0  # a server that is being restarted is asked again soon
SERVER_S = 30.0  # for one statement, and for a connection of the pool to be free


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite database file."""
    return f"sqlite+aiosqlite:///{path}"


class Database:
    """One database. Made by `open`; close it at the end.

    On SQLite, writing transactions are made one at a time: waiting here is fair and cheap, and
    SQLite has one writer anyway. What a transaction wrote is on disk when its block is left.
    Everything that the database raises is a StoreError here.

    With `heals`, for the one daemon that a SQLite file belongs to: a file that turns out to be
    corrupt, at the start or later, is set aside under a dated name, and a fresh one begun.
    """

    def __init__(self, url: URL, engine: AsyncEngine, *, heals: bool = False) -> None:
        self.url = url
        self.process = secrets.token_hex(8)  # who we are among those who share the database
        self.on_replaced: list[Callable[[], None]] = []
        self._engine = engine
        self._heals = heals
        self._suspect = False  # an error spoke of corruption
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, *, heals: bool = False) -> Database:
        """Open the database at `url` and bring its schema up to date.

        Raises SchemaTooNew for a database of a newer kogpt-bot and StoreError when it cannot be
        opened; the message names the database without its password.
        """
        parsed = parse_url(url)
        file = sqlite_file(parsed) if heals else None
        if file is not None:
            await _set_aside_if_corrupt(file, limit=QUICK_CHECK_BYTES)
        try:
            engine = await _open_engine(parsed)
        except StoreError as error:
            if file is None or not speaks_of_corruption(str(error)):
                raise
            await _set_aside_if_corrupt(file)
            engine = await _open_engine(parsed)
        return cls(parsed, engine, heals=heals)

    async def close(self) -> None:
        """Close every connection; SQLite's write-ahead log is folded into the file."""
        await self._engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of one process."""
        return is_sqlite(self.url)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give the connection of a transaction that is committed when the block is left."""
        if not self.is_sqlite:
            async with self._translated(), self._engine.begin() as connection:
                yield connection
            return
        async with self._writing:
            if self._suspect:
                await self._heal()
            async with self._translated(), self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that only reads."""
        if self._suspect:
            async with self._writing:
                await self._heal()
        async with self._translated(), self._engine.connect() as connection:
            yield await connection.execution_options(**{READ_ONLY: True})

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except failures(self.url) as error:
            if self._heals and speaks_of_corruption(reason(error)):
                self._suspect = True
            raise _translation(error) from error

    async def _heal(self) -> None:
        """Replace the file if it is corrupt indeed; nobody writes meanwhile."""
        file = sqlite_file(self.url)
        if not self._suspect or file is None:
            return
        await self._engine.dispose()
        if await _set_aside_if_corrupt(file):
            self._engine = await _open_engine(self.url)
            for tell in self.on_replaced:
                tell()
        self._suspect = False


async def _set_aside_if_corrupt(file: Path, *, limit: int | None = None) -> bool:
    """Set a corrupt file aside and say so; returns whether it was corrupt."""
    why = await asyncio.to_thread(find_corruption, file, limit=limit)
    if not why:
        return False
    try:
        aside = set_aside(file, datetime.now(UTC))
    except OSError as error:
        raise StoreError(f"{file} is corrupt ({why}) and cannot be renamed: {error}") from error
    log.error("database_corrupt", file=str(file), why=why, set_aside_as=str(aside))
    return True


async def _open_engine(url: URL) -> AsyncEngine:
    engine = make_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    except failures(url) as error:
        await engine.dispose()
        where = url.render_as_string(hide_password=True)
        raise StoreError(f"cannot open the database {where}: {reason(error)}") from error
    except StoreError:
        await engine.dispose()
        raise
    return engine


def parse_url(url: str) -> URL:
    """Return the URL with its asynchronous driver; StoreError for another kind of database."""
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    try:
        parsed = make_url(url)
        driver = drivers[parsed.get_backend_name()]
    except (ArgumentError, KeyError):
        raise StoreError(
            "store.url is not usable; allowed: sqlite+aiosqlite:///FILE or "
            "postgresql+asyncpg://USER@HOST/DATABASE"
        ) from None
    return parsed.set(drivername=driver)


def is_sqlite(url: URL) -> bool:
    """Whether the URL is that of a SQLite file."""
    return url.get_backend_name() == "sqlite"


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database; None in memory, and for other databases."""
    if not is_sqlite(url) or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def make_engine(url: URL) -> AsyncEngine:
    """Return an engine that has connected to nothing yet."""
    if not is_sqlite(url):
        _demand_driver()
        return create_async_engine(
            url,
            pool_pre_ping=True,  # a restart of the server costs one connection, not one message
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=SERVER_S,
            connect_args={"timeout": CONNECT_S, "command_timeout": SERVER_S},
        )
    pool: dict[str, Any] = {}
    if (file := sqlite_file(url)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        pool = {
            "pool_size": FILE_CONNECTIONS,
            "max_overflow": RUSH_CONNECTIONS,
            "pool_use_lifo": True,
        }
    engine = create_async_engine(url, **pool)
    _prepare_sqlite(engine)
    return engine


def _demand_driver() -> None:
    try:
        import asyncpg  # noqa: F401
    except ImportError as error:
        raise StoreError(
            "store.url: PostgreSQL needs its driver; pip install 'kogpt-bot[postgres]'"
        ) from error


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
            f"cache_size=-{PAGE_CACHE_KIB}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def failures(url: URL) -> tuple[type[Exception], ...]:
    """Return what a database raises: SQLAlchemy's errors, and what it does not wrap."""
    if is_sqlite(url):
        return (SQLAlchemyError, OSError)
    from asyncpg import InterfaceError, PostgresError

    return (SQLAlchemyError, OSError, TimeoutError, PostgresError, InterfaceError)


def reason(error: BaseException) -> str:
    """Return what a database's error says, in one line."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _translation(error: Exception) -> StoreError:
    if isinstance(error, IntegrityError | DataError):
        return RowRefused(f"the database refused a row: {reason(error)}")
    # A value that the driver could not even be given.
    refused = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    return (RowRefused if refused else StoreError)(f"the database failed: {reason(error)}")
