"""A clock that stands still until somebody sleeps; then it jumps to the next who wakes."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time passes only while every task waits: a sleep ends at once, in the order of its end."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._start = datetime(2026, 1, 1, tzinfo=UTC)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._advancing = False

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.time - 1000.0)

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.time + max(0.0, seconds), self._count, future))
        if not self._advancing:
            self._advancing = True
            asyncio.get_running_loop().call_soon(self._settle, 20)
        await future

    def _settle(self, rounds: int) -> None:
        """Let everything that can run without time passing run first."""
        if rounds:
            asyncio.get_running_loop().call_soon(self._settle, rounds - 1)
            return
        self._advancing = False
        while self._sleepers:
            end, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self.time = max(self.time, end)
                future.set_result(None)
                break
        if self._sleepers:
            self._advancing = True
            asyncio.get_running_loop().call_soon(self._settle, 20)
