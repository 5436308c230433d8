"""Handing over what is heard: in order within each channel, and not faster than it is taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

MAX_PER_CHANNEL = 200  # more is left to Discord's own history
MAX_TOTAL = 20_000

Job = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Queue:
    jobs: deque[Job] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Intake:
    """Runs jobs, one after the other within a channel.

    Where more wait than there is room for, `overflow` is asked for a job that fetches what was
    left out; it runs after those that wait.
    """

    def __init__(self, overflow: Callable[[int], Job]) -> None:
        self._overflow = overflow
        self._queues: dict[int, _Queue] = {}
        self._total = 0
        self._late: set[int] = set()  # channels of which something was left out

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._total

    def put(self, channel_id: int, job: Job) -> None:
        """Run a job after those of its channel that were put before."""
        queue = self._queues.get(channel_id)
        if channel_id in self._late:
            return  # what is fetched later has it
        if self._total >= MAX_TOTAL or (queue and len(queue.jobs) >= MAX_PER_CHANNEL):
            log.warning("discord_intake_full", waiting=self._total)
            self._late.add(channel_id)
            job = self._fetch_later(channel_id)
        if queue is None:
            queue = self._queues[channel_id] = _Queue()
        queue.jobs.append(job)
        self._total += 1
        if queue.task is None:
            queue.task = asyncio.create_task(
                self._run(channel_id, queue), name=f"discord intake {channel_id}"
            )

    def _fetch_later(self, channel_id: int) -> Job:
        async def fetch() -> None:
            self._late.discard(channel_id)
            await self._overflow(channel_id)()

        return fetch

    async def _run(self, channel_id: int, queue: _Queue) -> None:
        try:
            while queue.jobs:
                job = queue.jobs.popleft()
                self._total -= 1
                try:
                    await job()
                except Exception:
                    log.exception("discord_event_failed")
        finally:
            del self._queues[channel_id]

    async def close(self) -> None:
        """End what runs and drop what waits."""
        tasks = [queue.task for queue in self._queues.values() if queue.task]
        for queue in self._queues.values():
            self._total -= len(queue.jobs)
            queue.jobs.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
