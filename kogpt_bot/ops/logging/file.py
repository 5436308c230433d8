"""The log in a file: JSON lines, for the owner alone, bounded in size and in age."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import BaseRotatingHandler
from pathlib import Path

from kogpt_bot.errors import ConfigurationError

PIECES = 5  # of the size in all: when a new one is begun, the oldest goes
DAY_S = 86_400.0
COMPLAIN_EVERY_S = 60.0  # about a full disk, on standard error


class LogFile(BaseRotatingHandler):
    """Begins a new file each day (UTC) and when a fifth of `max_bytes` is written.

    Older pieces are called PATH.TIME; no line stays longer than `keep_days` days.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        keep_days: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path.absolute()
        self._max_bytes = max_bytes
        self._keep_s = keep_days * DAY_S
        self._now = now
        self._complained = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            super().__init__(path, "a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise ConfigurationError(
                f"logging.file: {path} cannot be written: {error.strerror}; name another file"
            ) from error
        size = path.stat().st_size
        self._day = _day(path.stat().st_mtime if size else now())
        self.tidy()

    def _open(self) -> TextIOWrapper:
        def opener(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_CLOEXEC, 0o600)

        binary = open(self.baseFilename, "ab", opener=opener)  # noqa: SIM115  # closed by the handler
        return TextIOWrapper(binary, encoding=self.encoding, errors=self.errors)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Return whether the file is full, or of another day."""
        if _day(self._now()) != self._day:
            return True
        if self.stream is None:
            return False
        added = len(self.format(record).encode(errors="replace")) + 1
        return bool(self.stream.tell()) and self.stream.tell() + added > self._max_bytes // PIECES

    def doRollover(self) -> None:
        """Put the file aside and begin a new one."""
        if self.stream is not None:
            self.stream.close()
        moment = datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%S.%f")
        if self._path.exists() and self._path.stat().st_size:
            self._path.rename(self._path.with_name(f"{self._path.name}.{moment}"))
        self._day = _day(self._now())
        self.stream = self._open()
        self.tidy()

    def tidy(self) -> None:
        """Remove what is too old or too much; called now and then, also when nothing is logged."""
        if _day(self._now()) != self._day:
            self.acquire()
            try:
                self.doRollover()
            finally:
                self.release()
            return
        left = self._max_bytes * (PIECES - 1) // PIECES  # beside the file that is being written
        for piece in sorted(self.pieces(), key=_name, reverse=True):
            found = piece.stat()
            left -= found.st_size
            # A piece spans a day at most, so that its oldest line is not older than that.
            if left < 0 or self._now() - found.st_mtime > self._keep_s - DAY_S:
                piece.unlink(missing_ok=True)

    def pieces(self) -> list[Path]:
        """Return the older files."""
        return list(self._path.parent.glob(f"{self._path.name}.*T*"))

    def handleError(self, record: logging.LogRecord) -> None:
        """Say now and then that the file cannot be written; the other ways of the log go on."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) or self._now() - self._complained < COMPLAIN_EVERY_S:
            return  # what cannot be shown at all, the pipeline tells
        self._complained = self._now()
        sys.stderr.write(f"the log file {self._path} cannot be written: {error.strerror}\n")


def _day(moment: float) -> int:
    return int(moment // DAY_S)


def _name(path: Path) -> str:
    return path.name
