"""Telegram's limits, kept on our side: a call that would break one raises RetryAfter at once."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kogpt_bot import RetryAfter

PER_SECOND = 1.0  # messages and edits in one chat, over any longer time
BURST = 3.0  # Telegram bears that many at once
GROUP_WINDOW_S = 60.0
PER_GROUP_WINDOW = 20
TOTAL_PER_SECOND = 30.0  # in all chats together
MAX_CHATS = 10_000  # that are remembered; the least recently used go first


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
    bucket: _Bucket
    held_until: float = 0.0
    sent: deque[float] = field(default_factory=lambda: deque(maxlen=PER_GROUP_WINDOW))


class Pace:
    """What was sent where; `take` before a message or an edit, `check` before anything else."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._chats: OrderedDict[int, _Chat] = OrderedDict()
        self._total = _Bucket(TOTAL_PER_SECOND, TOTAL_PER_SECOND, TOTAL_PER_SECOND, monotonic())

    def check(self, chat: int) -> None:
        """Raise RetryAfter while Telegram wants no calls for this chat."""
        now = self._monotonic()
        left = self._chat(chat, now).held_until - now
        if left > 0:
            raise RetryAfter(left)

    def take(self, chat: int) -> None:
        """Count a message or an edit; RetryAfter where it would be one too many."""
        self.check(chat)
        now = self._monotonic()
        here = self._chat(chat, now)
        wait = max(here.bucket.wait(now), self._total.wait(now))
        if chat < 0 and len(here.sent) == PER_GROUP_WINDOW:
            wait = max(wait, here.sent[0] + GROUP_WINDOW_S - now)
        if wait > 0:
            raise RetryAfter(wait)
        here.bucket.level -= 1.0
        self._total.level -= 1.0
        here.sent.append(now)

    def hold(self, chat: int, seconds: float) -> None:
        """Telegram asked to wait: no call for this chat until then."""
        now = self._monotonic()
        here = self._chat(chat, now)
        here.held_until = max(here.held_until, now + seconds)

    def _chat(self, chat: int, now: float) -> _Chat:
        found = self._chats.get(chat)
        if found is None:
            found = self._chats[chat] = _Chat(_Bucket(PER_SECOND, BURST, BURST, now))
            if len(self._chats) > MAX_CHATS:
                self._chats.popitem(last=False)
        self._chats.move_to_end(chat)
        return found
