"""Named parts: started in order, stopped in the reverse order, whatever one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from kogpt_bot.clock import Clock

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 24.0  # all parts together; systemd and people expect an end within 25 s
LAST_PATIENCE_S = 0.2  # for a part whose turn comes when the time is over
TASK_PATIENCE_S = 1.0  # a task that was cancelled ends at its next await


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    stop: Callable[[], Awaitable[object]]
    patience_s: float


class Lifecycle:
    """Holds what was started; leaving the context stops it all, the last part first.

    A part that fails to stop, or does not stop in its time, is logged, and the others are
    stopped all the same.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: list[_Part] = []

    def started(
        self, name: str, stop: Callable[[], Awaitable[object]], *, patience_s: float
    ) -> None:
        """Note a part that was started, and what stops it."""
        self._parts.append(_Part(name, stop, patience_s))

    def run(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Run a task until the end of the context; one that fails is logged, the rest goes on."""

        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("part_failed", part=name)

        task = asyncio.create_task(guarded(), name=name)

        async def stop() -> None:
            task.cancel()
            await asyncio.wait([task])

        self.started(name, stop, patience_s=TASK_PATIENCE_S)

    @property
    def parts(self) -> list[str]:
        """The names of what runs, in the order of their start."""
        return [part.name for part in self._parts]

    async def stop(self) -> None:
        """Stop every part, within `STOP_WITHIN_S` in all."""
        end = self._clock.monotonic() + STOP_WITHIN_S
        while self._parts:
            part = self._parts.pop()
            left = max(end - self._clock.monotonic(), LAST_PATIENCE_S)
            patience = min(part.patience_s, left)
            try:
                async with asyncio.timeout(patience):
                    await part.stop()
            except TimeoutError:
                log.error("part_stops_late", part=part.name, after_s=round(patience, 1))  # noqa: TRY400
            except Exception:
                log.exception("part_stop_failed", part=part.name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
