"""The way of a log record: throttled, then to every output, and to who watches live."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from kogpt_bot.ops.logging.file import LogFile
from kogpt_bot.ops.logging.redact import Redactor
from kogpt_bot.ops.logging.throttle import Kind, Summary, Throttle
from kogpt_bot.secret import Secret

if TYPE_CHECKING:
    StreamHandler = logging.StreamHandler[TextIO]
else:
    StreamHandler = logging.StreamHandler

KEPT_LINES = 200  # for who begins to watch
MAX_UNREAD = 1000  # lines that a watcher may be behind
MAX_WATCHERS = 20
TICK_S = 10.0


class Watcher:
    """Reads the log live; lines that it is too slow for are left out, and counted."""

    def __init__(self, past: Iterable[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str] = asyncio.Queue(MAX_UNREAD)
        self.missed = 0
        for line in past:
            self._put(line)

    def tell(self, line: str) -> None:
        """Hand over a line, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, line)

    def _put(self, line: str) -> None:
        if self._lines.full():
            self.missed += 1
        else:
            self._lines.put_nowait(line)

    async def next(self) -> str:
        """Return the next line."""
        return await self._lines.get()


class Shown(StreamHandler):
    """The output that people see."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: what it would be said on is what failed."""


class Pipeline(logging.Handler):
    """The one handler of the process."""

    def __init__(
        self,
        outputs: Sequence[logging.Handler],
        lines: logging.Formatter,
        redactor: Redactor,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()  # level -> events, those not shown included
        self._outputs = outputs
        self._lines = lines
        self._redactor = redactor
        self._throttle = Throttle(monotonic)
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._watchers: set[Watcher] = set()

    @property
    def suppressed(self) -> int:
        """How many events were not shown since the start."""
        return self._throttle.suppressed

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Know these secrets too."""
        self._redactor.learn(secrets)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on, unless there are too many of its kind; never an error."""
        self.counts[record.levelname.lower()] += 1
        try:
            admitted = self._throttle.admit(_kind(record))
            self._summarise(self._throttle.due())
            if admitted:
                self._write(record)
        except Exception:  # noqa: BLE001  # what logs must not fail because it logs
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say that a record could not be written, without what is in it: it is not redacted."""
        kind = getattr(sys.exc_info()[0], "__name__", "error")
        sys.stderr.write(f"a log event of {record.name} could not be written: {kind}\n")

    def tick(self) -> None:
        """Say what was not shown, and remove old files; called every `TICK_S`."""
        with self._locked():
            self._summarise(self._throttle.due())
        for output in self._outputs:
            if isinstance(output, LogFile):
                output.tidy()

    async def keep_ticking(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    @contextmanager
    def watch(self, past: int) -> Iterator[Watcher]:
        """Give a watcher that has the last `past` lines and hears all that follow."""
        if len(self._watchers) >= MAX_WATCHERS:
            raise ValueError(f"{MAX_WATCHERS} watch the log already")
        with self._locked():
            watcher = Watcher(list(self._kept)[-past:] if past else [])
            self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """Say what was not shown, and close the outputs."""
        with self._locked():
            self._summarise(self._throttle.due(all_=True))
        for output in self._outputs:
            output.close()
        super().close()

    def _summarise(self, summaries: Iterable[Summary]) -> None:
        for each in summaries:
            self._write(_record(each))

    def _write(self, record: logging.LogRecord) -> None:
        for output in self._outputs:
            output.handle(record)
        line = self._lines.format(record)
        self._kept.append(line)
        for watcher in tuple(self._watchers):
            watcher.tell(line)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()


def _kind(record: logging.LogRecord) -> Kind:
    # structlog's record holds the event itself; another one's text may differ each time.
    event = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
    return Kind(record.name, str(event)[:200], record.levelno)


def _record(summary: Summary) -> logging.LogRecord:
    """Return the record of what was not shown, in the shape of structlog's own."""
    kind = summary.kind
    event = {
        "event": "events_not_shown",
        "of": kind.event,
        "count": summary.count,
        "level": logging.getLevelName(kind.level).lower(),
        "logger": kind.logger,
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    record = logging.LogRecord(kind.logger, kind.level, "", 0, event, None, None)
    record._logger, record._name = None, "info"  # what tells structlog's formatter that it is one
    return record
