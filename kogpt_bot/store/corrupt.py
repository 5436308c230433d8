"""A SQLite file that cannot be read any more: told from passing trouble, and set aside."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

QUICK_CHECK_BYTES = 64 * 2**20  # as much as can be checked at each start without being noticed
LOCKED_S = 5.0  # a file that somebody else writes to is not corrupt
COMPANIONS = ("", "-wal", "-shm")  # what belongs to a database file

_SIGNS = ("malformed", "not a database")  # SQLITE_CORRUPT, SQLITE_NOTADB


def speaks_of_corruption(reason: str) -> bool:
    """Whether an error of SQLite's says that the file itself is broken."""
    return any(sign in reason for sign in _SIGNS)


def find_corruption(file: Path, *, limit: int | None = None) -> str:
    """Return what is wrong with a file, "" for nothing; a file above `limit` bytes passes."""
    if not file.is_file() or (limit is not None and file.stat().st_size > limit):
        return ""
    try:
        with closing(sqlite3.connect(file, timeout=LOCKED_S)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:  # locked, or not readable: another trouble than this
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found)


def set_aside(file: Path, at: datetime) -> Path:
    """Rename a database file, with all that belongs to it, to a dated name; return that."""
    aside = file.with_name(f"{file.name}.corrupt-{at:%Y%m%dT%H%M%SZ}")
    number = 1
    while aside.exists():
        number += 1
        aside = file.with_name(f"{file.name}.corrupt-{at:%Y%m%dT%H%M%SZ}-{number}")
    for companion in COMPANIONS:
        part = file.with_name(file.name + companion)
        if part.exists():
            part.rename(aside.with_name(aside.name + companion))
    return aside
