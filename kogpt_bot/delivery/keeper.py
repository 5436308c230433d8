"""Taking up open turns: those that a stop or a crash left, and those of other processes."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.errors import StoreError
from kogpt_bot.store import Store

log = structlog.get_logger(__name__)

POLL_S = 1.0  # how soon a turn is seen that another process recorded or left
BEAT_S = 3.0
LEASE_S = 15.0  # five beats: a process that is silent for so long answers nobody


class LaneKeeper:
    """Shares the work with other processes: heartbeats, and claims of what is free.

    `run` does so for as long as it runs, where the store is shared; with a store of its own a
    process takes up what was left open once, at its start.
    """

    def __init__(
        self, store: Store, lanes: Lanes, adapters: Collection[str], clock: Clock, *, resumes: bool
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._adapters = adapters
        self._clock = clock
        self._resumes = resumes
        self._seen: dict[str, tuple[int, float]] = {}  # process -> its count, and since when
        self._next_beat = 0.0
        self._failing = False

    async def start(self) -> None:
        """Join the other processes and take up what is open."""
        if self._store.shared:
            await self._store.join(self._clock.now())
        await self.take_up(self._adapters)

    async def take_up(self, adapters: Collection[str]) -> None:
        """Put the open turns of these adapters into their lanes, oldest first.

        Those that are in a lane already stay where they are. How each goes on, or ends, is
        decided when its lane comes to it (`answer.py`).
        """
        if not self._resumes or self._lanes.closed:
            return
        for turn in await self._store.claim(adapters):
            if not self._lanes.holds(turn):
                # Wall time is all that there is across processes; set back, it makes nothing older.
                age_s = (self._clock.now() - turn.created_at).total_seconds()
                self._lanes.put(turn, age_s=max(0.0, age_s))

    async def run(self) -> None:
        """Beat, watch the others, and take up what is free, until cancelled."""
        while True:
            await self._clock.sleep(POLL_S)
            try:
                if self._clock.monotonic() >= self._next_beat:
                    await self._beat()
                    self._next_beat = self._clock.monotonic() + BEAT_S
                await self.take_up(self._adapters)
            except StoreError as error:
                if not self._failing:
                    log.warning("lanes_not_kept", why=str(error))
                self._failing = True
            else:
                self._failing = False

    async def _beat(self) -> None:
        beats = await self._store.beat()
        if beats is None:  # we slept for too long; what we owned is somebody else's by now
            log.warning("lanes_lost", why="the heartbeat came too late")
            await self._store.join(self._clock.now())
            return
        now = self._clock.monotonic()
        seen = {
            token: self._seen[token] if self._seen.get(token, (None,))[0] == count else (count, now)
            for token, count in beats.items()
        }
        self._seen = seen
        for token, (count, since) in seen.items():
            if now - since >= LEASE_S and await self._store.bury(token, count):
                log.warning("process_taken_for_dead", process=token)
