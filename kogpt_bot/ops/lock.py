"""One daemon per data folder: a lock that goes with the process, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kogpt_bot.errors import StoreError
from kogpt_bot.lock import hold_file

NAME = "daemon.lock"


@contextmanager
def instance_lock(folder: Path) -> Iterator[None]:
    """Hold the folder; AlreadyRunning where another process does."""

    def refusal(process: str) -> str:
        return (
            f"another kogpt-bot (process {process}) runs with data_dir {folder}; end it, or give "
            "this one a data_dir of its own"
        )

    with ExitStack() as stack:
        try:
            stack.enter_context(hold_file(folder / NAME, refusal))
        except OSError as error:
            raise StoreError(f"data_dir: {folder} cannot be written: {error.strerror}") from error
        yield
