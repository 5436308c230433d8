"""One lane per channel: its turns are answered in order, and no channel starves another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from kogpt_bot.messages import ChannelKey
from kogpt_bot.store import Turn

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Lane:
    waiting: deque[Turn] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Lanes:
    """Runs `work` for each turn, in order within a channel, up to `concurrency` channels at once.

    Lanes that wait for their next place get it in the order in which they asked for it, so a
    channel with ten waiting turns gets no more of the bot than a channel with one. `work` must
    not raise; what it raises is logged and the lane goes on.
    """

    def __init__(
        self,
        work: Callable[[Turn], Awaitable[None]],
        *,
        per_channel: int,
        total: int,
        concurrency: int,
    ) -> None:
        self._work = work
        self._per_channel = per_channel
        self._total = total
        self._places = asyncio.Semaphore(concurrency)
        self._lanes: dict[ChannelKey, _Lane] = {}
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many turns wait in all lanes, those being answered not counted."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def resize(self, *, per_channel: int, total: int) -> None:
        """Take over changed bounds; what waits already stays."""
        self._per_channel, self._total = per_channel, total

    def has_room(self, key: ChannelKey) -> bool:
        """Whether a turn of this channel may be put; also after `close`, see there."""
        lane = self._lanes.get(key)
        in_lane = len(lane.waiting) if lane else 0
        return in_lane < self._per_channel and self.waiting < self._total

    def put(self, turn: Turn) -> None:
        """Append a turn to its channel's lane; the caller has asked `has_room`.

        After `close` nothing is started any more: the turn stays open in the store, for the
        next start.
        """
        if self._closed:
            return
        lane = self._lanes.setdefault(turn.key, _Lane())
        lane.waiting.append(turn)
        if lane.task is None:
            lane.task = asyncio.create_task(self._run(turn.key, lane), name=f"lane {turn.key}")

    async def _run(self, key: ChannelKey, lane: _Lane) -> None:
        try:
            while True:
                async with self._places:
                    if self._closed or not lane.waiting:
                        return
                    await self._answer(lane.waiting.popleft())
        finally:
            del self._lanes[key]

    async def _answer(self, turn: Turn) -> None:
        try:
            await self._work(turn)
        except Exception:
            log.exception("turn_failed", turn=turn.id)

    def waiting_in(self, key: ChannelKey) -> int:
        """How many turns wait in one channel's lane."""
        lane = self._lanes.get(key)
        return len(lane.waiting) if lane else 0

    def drop_of(self, adapter: str, author_id: str, key: ChannelKey | None) -> list[Turn]:
        """Take a person's waiting turns out of one lane, or of all, and return them."""
        dropped: list[Turn] = []
        for each, lane in self._lanes.items():
            if each.adapter != adapter or key not in (None, each):
                continue
            theirs = [turn for turn in lane.waiting if turn.message.author.id == author_id]
            for turn in theirs:
                lane.waiting.remove(turn)
            dropped += theirs
        return dropped

    def drop_waiting(self, key: ChannelKey) -> list[Turn]:
        """Take the channel's waiting turns out of its lane and return them."""
        lane = self._lanes.get(key)
        if lane is None:
            return []
        dropped = list(lane.waiting)
        lane.waiting.clear()
        return dropped

    async def close(self, patience_s: float) -> None:
        """Start nothing new, wait for what is being answered, then cancel what remains."""
        self._closed = True
        tasks = [lane.task for lane in self._lanes.values() if lane.task]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
