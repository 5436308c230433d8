"""One lane per channel: its turns are answered in order, and no channel starves another."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.messages import ChannelKey
from kogpt_bot.store import Turn

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A turn on its way. The times are monotonic: a clock that is set changes nothing."""

    turn: Turn
    received_at: float
    burst_at: float  # when the first message came that this turn answers


@dataclass(slots=True)
class _Lane:
    waiting: deque[Job] = field(default_factory=deque)
    current: Job | None = None
    task: asyncio.Task[None] | None = None


class Lanes:
    """Runs `work` for each turn, in order within a channel.

    Up to `concurrency` channels of one platform are answered at once; answers that wait for a
    platform that is away take no place from those of others. Lanes that wait for their next place
    get it in the order in which they asked for it, so a channel with ten waiting turns gets no
    more of the bot than a channel with one. `work` must not raise; what it raises is logged and
    the lane goes on.
    """

    def __init__(
        self,
        work: Callable[[Job], Awaitable[None]],
        clock: Clock,
        *,
        per_channel: int,
        total: int,
        concurrency: int,
    ) -> None:
        self._work = work
        self._clock = clock
        self._per_channel = per_channel
        self._total = total
        self._places = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(concurrency))
        self._lanes: dict[ChannelKey, _Lane] = {}
        self._reserved = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many turns wait in all lanes, those being answered not counted."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def resize(self, *, per_channel: int, total: int) -> None:
        """Take over changed bounds; what waits already stays."""
        self._per_channel, self._total = per_channel, total

    @property
    def closed(self) -> bool:
        """Whether nothing new is started any more."""
        return self._closed

    @property
    def depths(self) -> dict[ChannelKey, int]:
        """How many turns each lane has, the one being answered counted."""
        return {
            key: len(lane.waiting) + (lane.current is not None) for key, lane in self._lanes.items()
        }

    def has_room(self, key: ChannelKey) -> bool:
        """Whether a turn of this channel may be put; also after `close`, see there."""
        lane = self._lanes.get(key)
        in_lane = len(lane.waiting) if lane else 0
        in_all = self.waiting + self._reserved
        return in_lane < self._per_channel and in_all < self._total

    def reserve(self) -> None:
        """Keep one place of all lanes for a turn that is being recorded; `release` it after."""
        self._reserved += 1

    def release(self) -> None:
        """Give a reserved place back."""
        self._reserved -= 1

    def put(self, turn: Turn, *, age_s: float = 0.0, burst_at: float | None = None) -> None:
        """Append a turn to its channel's lane; the caller has asked `has_room`.

        `age_s` is how long it has waited before. After `close` nothing is started any more: the
        turn stays open in the store, for the next start.
        """
        if self._closed:
            return
        received_at = self._clock.monotonic() - age_s
        job = Job(turn, received_at, received_at if burst_at is None else burst_at)
        lane = self._lanes.setdefault(turn.key, _Lane())
        lane.waiting.append(job)
        if lane.task is None:
            lane.task = asyncio.create_task(self._run(turn.key, lane), name=f"lane {turn.key}")

    def holds(self, turn: Turn) -> bool:
        """Whether the turn waits or is being answered here."""
        lane = self._lanes.get(turn.key)
        return lane is not None and any(
            job.turn.id == turn.id for job in (*lane.waiting, lane.current) if job is not None
        )

    def newest(self, key: ChannelKey) -> Job | None:
        """Return the job of a channel that came last and has not ended."""
        lane = self._lanes.get(key)
        if lane is None:
            return None
        return lane.waiting[-1] if lane.waiting else lane.current

    async def _run(self, key: ChannelKey, lane: _Lane) -> None:
        try:
            while True:
                async with self._places[key.adapter]:
                    if self._closed or not lane.waiting:
                        return
                    lane.current = lane.waiting.popleft()
                    await self._answer(lane.current)
                    lane.current = None
        finally:
            del self._lanes[key]

    async def _answer(self, job: Job) -> None:
        try:
            await self._work(job)
        except Exception:
            log.exception("turn_failed", turn=job.turn.id)

    def drop(self, key: ChannelKey, turn_id: int) -> bool:
        """Take one waiting turn out of its lane; returns whether it waited there."""
        lane = self._lanes.get(key)
        if lane is None:
            return False
        before = len(lane.waiting)
        lane.waiting = deque(job for job in lane.waiting if job.turn.id != turn_id)
        return len(lane.waiting) < before

    def place_of(self, key: ChannelKey, author_id: str) -> int:
        """Return the place of a person's next turn among those that wait; 0 for none."""
        lane = self._lanes.get(key)
        waiting = lane.waiting if lane else ()
        places = (n for n, job in enumerate(waiting, 1) if job.turn.message.author.id == author_id)
        return next(places, 0)

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
            theirs = [job for job in lane.waiting if job.turn.message.author.id == author_id]
            for job in theirs:
                lane.waiting.remove(job)
            dropped += [job.turn for job in theirs]
        return dropped

    def drop_waiting(self, key: ChannelKey) -> list[Turn]:
        """Take the channel's waiting turns out of its lane and return them."""
        lane = self._lanes.get(key)
        if lane is None:
            return []
        dropped = [job.turn for job in lane.waiting]
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
