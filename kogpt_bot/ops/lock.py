"""One daemon per data folder: a lock that goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kogpt_bot.errors import AlreadyRunning, StoreError

NAME = "daemon.lock"


@contextmanager
def instance_lock(folder: Path) -> Iterator[None]:
    """Hold the folder; AlreadyRunning where another process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / NAME).open("a+")
    except OSError as error:
        raise StoreError(f"data_dir: {folder} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read().strip() or "?"
            raise AlreadyRunning(
                f"another kogpt-bot (process {pid}) runs with data_dir {folder}; end it, or give "
                "this one a data_dir of its own"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
