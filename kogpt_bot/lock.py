"""A lock on a file that goes with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kogpt_bot.errors import AlreadyRunning


@contextmanager
def hold_file(file: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Hold `file`, which is made where there is none, and its folder too.

    AlreadyRunning where another process holds it: `refusal` gets its number ("?" where that is
    not known) and says so. OSError where the file cannot be had.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("a+") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            opened.seek(0)
            raise AlreadyRunning(refusal(opened.read().strip() or "?")) from error
        opened.truncate(0)
        opened.write(str(os.getpid()))
        opened.flush()
        yield
