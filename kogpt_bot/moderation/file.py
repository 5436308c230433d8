"""The log as a file besides: a line of JSON per hit, rotated by size, for the owner's eyes only."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from kogpt_bot.moderation.export import as_dict
from kogpt_bot.store.profanity_values import Hit

MODE = 0o600
_TEXTS = ("text", "prompt", "generated")


class HitFile:
    """Appends hits to `path`; `path.1` is the newest of the older files.

    Its methods block for as long as the disk takes; call them in a thread. They raise OSError.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int) -> None:
        self._path = path
        self._backups = backups
        self._handler = _Private(
            path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", delay=True
        )

    def write(self, hits: Sequence[Hit]) -> None:
        """Append a line for each hit, flushed to the system when this returns."""
        for hit in hits:
            line = json.dumps(as_dict(hit), ensure_ascii=False)
            self._handler.handle(logging.makeLogRecord({"msg": line}))

    def ids(self) -> set[int]:
        """Return the ids of the hits that stand in the files."""
        return {
            int(values["id"])
            for path in self._files()
            for values in map(_values, _lines(path))
            if values is not None
        }

    def erase(self, gone: Collection[int], blank: Collection[int]) -> int:
        """Drop the hits in `gone`, and the texts of those in `blank`; returns how many are gone.

        A file in which nothing changes is not touched, so that who follows it is not confused.
        """
        dropped = 0
        self._handler.acquire()
        try:
            for path in self._files():
                lines = _lines(path)
                kept = [new for line in lines if (new := _kept(line, gone, blank))]
                dropped += len(lines) - len(kept)
                if kept != lines:
                    self._handler.close()  # the next hit opens the new file
                    _replace(path, kept)
        finally:
            self._handler.release()
        return dropped

    def close(self) -> None:
        """Close the file."""
        self._handler.close()

    def _files(self) -> list[Path]:
        older = (self._path.with_name(f"{self._path.name}.{n + 1}") for n in range(self._backups))
        return [path for path in (self._path, *older) if path.is_file()]


class _Private(RotatingFileHandler):
    """A rotating file that only its owner may read, and whose faults are the caller's to handle."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_opener)

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704  # called where the fault is being handled


def _opener(name: str, flags: int) -> int:
    return os.open(name, flags, MODE)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _values(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
        return values if isinstance(values["id"], int) else None
    except (ValueError, KeyError, TypeError):
        return None  # a line that a crash cut in two


def _kept(line: str, gone: Collection[int], blank: Collection[int]) -> str:
    """Return the line as it may stay; "" where it may not."""
    values = _values(line)
    if values is None or values["id"] in gone:
        return ""
    if values["id"] not in blank:
        return line
    bare = {**values, **dict.fromkeys(_TEXTS, "[erased]"), "message": "", "matched": ""}
    return json.dumps(bare, ensure_ascii=False)


def _replace(path: Path, lines: Iterable[str]) -> None:
    draft = path.with_name(f"{path.name}.new")
    with open(draft, "w", encoding="utf-8", opener=_opener) as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
