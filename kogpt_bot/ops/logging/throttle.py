"""No event floods the log: of each kind the first ones are shown, then how many more there were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

BURST = 100  # of one kind in a window: five messages a second are logged one by one
WINDOW_S = 10.0
MAX_KINDS = 1000


@dataclass(frozen=True, slots=True)
class Kind:
    """What counts as the same event: its name, and who logged it at which level."""

    logger: str
    event: str
    level: int


@dataclass(frozen=True, slots=True)
class Summary:
    """How many events of a kind were not shown."""

    kind: Kind
    count: int


@dataclass(slots=True)
class _Window:
    began: float
    seen: int = 0


class Throttle:
    """Counts events in windows of time; `monotonic` is the time in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._windows: OrderedDict[Kind, _Window] = OrderedDict()
        self._due: list[Summary] = []
        self.suppressed = 0  # since the start

    def admit(self, kind: Kind) -> bool:
        """Count an event; returns whether it is to be shown."""
        now = self._monotonic()
        window = self._windows.get(kind)
        if window is not None and now - window.began >= WINDOW_S:
            self._end(kind)
            window = None
        if window is None:
            window = self._windows[kind] = _Window(now)
            if len(self._windows) > MAX_KINDS:
                self._end(next(iter(self._windows)))
        window.seen += 1
        if window.seen > BURST:
            self.suppressed += 1
            return False
        return True

    def due(self, *, all_: bool = False) -> list[Summary]:
        """Return the summaries of the windows that are over, or of all; each one once."""
        now = self._monotonic()
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            if not all_ and now - window.began < WINDOW_S:
                break
            self._end(kind)
        due, self._due = self._due, []
        return due

    def _end(self, kind: Kind) -> None:
        window = self._windows.pop(kind)
        if window.seen > BURST:
            self._due.append(Summary(kind, window.seen - BURST))
