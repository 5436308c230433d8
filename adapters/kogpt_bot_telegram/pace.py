"""Telegram's limits, kept on our side: a call that would break one raises RetryAfter at once."""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kogpt_bot import NoneToSpare, RetryAfter

PER_SECOND = 1.0  # messages in one chat, and edits in one chat
GROUP_WINDOW_S = 60.0
PER_GROUP_WINDOW = 20
KEPT = 5  # of these, for messages and last edits: without them an answer would end a minute late
TOTAL_PER_SECOND = 30.0  # in all chats together
MAX_CHATS = 10_000  # that are remembered; the least recently used go first


class Weight(enum.Enum):
    """What a call counts as."""

    NOTHING = enum.auto()
    MESSAGE = enum.auto()
    EDIT = enum.auto()
    PASSING_EDIT = enum.auto()  # a later edit says all of it, too


@dataclass(slots=True)
class _Bucket:
    """Fills at `rate` a second up to `size`; a message takes one."""

    rate: float
    size: float
    level: float
    at: float

    def wait(self, now: float) -> float:
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        return max(0.0, (1.0 - self.level) / self.rate)


@dataclass(slots=True)
class _Chat:
    last: dict[Weight, float] = field(default_factory=dict)
    held_until: float = 0.0
    window: deque[float] = field(default_factory=lambda: deque(maxlen=PER_GROUP_WINDOW))

    def room(self, places: int, now: float) -> float:
        """Return the seconds until there are fewer than so many calls within the window."""
        if len(self.window) < places:
            return 0.0
        return self.window[-places] + GROUP_WINDOW_S - now


class Pace:
    """What was sent where; `take` is asked before each call."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._chats: OrderedDict[int, _Chat] = OrderedDict()
        self._total = _Bucket(TOTAL_PER_SECOND, TOTAL_PER_SECOND, TOTAL_PER_SECOND, monotonic())

    def take(self, chat: int, weight: Weight = Weight.NOTHING) -> None:
        """Count a call; RetryAfter where it would be one too many, or Telegram wants none now.

        NoneToSpare where it would be one too many for an edit that need not be.
        """
        now = self._monotonic()
        here = self._chat(chat)
        kind = Weight.EDIT if weight is Weight.PASSING_EDIT else weight
        wait = here.held_until - now
        if weight is not Weight.NOTHING:
            wait = max(wait, self._total.wait(now))
            if (last := here.last.get(kind)) is not None:
                wait = max(wait, last + 1.0 / PER_SECOND - now)
            if chat < 0:
                wait = max(wait, here.room(PER_GROUP_WINDOW, now))
        if wait > 0:
            raise RetryAfter(wait)
        passing = weight is Weight.PASSING_EDIT and chat < 0
        if passing and (wait := here.room(PER_GROUP_WINDOW - KEPT, now)) > 0:
            raise NoneToSpare(wait)
        if weight is not Weight.NOTHING:
            self._total.level -= 1.0
            here.last[kind] = now
            here.window.append(now)

    def hold(self, chat: int, seconds: float) -> None:
        """Telegram asked to wait: no call for this chat until then."""
        here = self._chat(chat)
        here.held_until = max(here.held_until, self._monotonic() + seconds)

    def _chat(self, chat: int) -> _Chat:
        found = self._chats.setdefault(chat, _Chat())
        self._chats.move_to_end(chat)
        if len(self._chats) > MAX_CHATS:
            self._chats.popitem(last=False)
        return found
