"""What the operator sees of a running daemon: its parts, how they are, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kogpt_bot import __version__
from kogpt_bot.clock import Clock
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.delivery.responder import Responder
from kogpt_bot.errors import GenerationError, StoreError
from kogpt_bot.generation.supervisor import State
from kogpt_bot.metrics import Metrics
from kogpt_bot.ops.adapters import HostedAdapter
from kogpt_bot.ops.generation import GenerationLink
from kogpt_bot.ops.logging import Pipeline
from kogpt_bot.ops.reload import Reloader
from kogpt_bot.store import Store

ANSWER_S = 2.0  # a part that does not answer within it is not well


@dataclass(frozen=True, slots=True)
class PartHealth:
    """One part: whether it does its work, what it does, why, and what to do about it."""

    ready: bool
    state: str
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DaemonView:
    """The running daemon; it is read and never changed here."""

    adapters: Mapping[str, HostedAdapter]
    generation: GenerationLink
    store: Store
    lanes: Lanes
    responder: Responder
    metrics: Metrics
    reloader: Reloader
    pipeline: Pipeline | None
    clock: Clock
    started_at: float  # monotonic

    @property
    def uptime_s(self) -> float:
        """How long it runs."""
        return self.clock.monotonic() - self.started_at

    async def parts(self) -> dict[str, PartHealth]:
        """Return every part by its name: store, generation, and the adapters."""
        store, generation = await asyncio.gather(self._store(), self._generation())
        adapters = {f"adapter {name}": _adapter(each) for name, each in self.adapters.items()}
        return {"store": store, "generation": generation, **adapters}

    async def _store(self) -> PartHealth:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self.store.check()
        except (StoreError, TimeoutError) as error:
            why = str(error) or f"no answer within {ANSWER_S:g} s"
            remedy = "free the disk or start the database; it recovers by itself then"
            return PartHealth(False, "failing", why, remedy)
        return PartHealth(True, "ready")

    async def _generation(self) -> PartHealth:
        supervisor = self.generation.supervisor
        if supervisor is None:
            return await self._service()
        status = supervisor.status
        detail, remedy = status.detail, ""
        if status.state is State.STARTING and status.progress:
            detail = f"{detail} {status.progress:.0%}"
        if status.state is State.FAILED:
            remedy = "correct the section generation; `kogpt-bot doctor` looks closer"
        return PartHealth(status.state is State.READY, str(status.state), detail, remedy)

    async def _service(self) -> PartHealth:
        remedy = "start the service, or correct generation.url"
        try:
            async with asyncio.timeout(ANSWER_S):
                health = await self.generation.client.health()
        except (GenerationError, TimeoutError) as error:
            return PartHealth(False, "unreachable", str(error), remedy)
        state = "ready" if health.ready else "loading"
        return PartHealth(health.ready, state, health.loading)

    async def status(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        parts = await self.parts()
        last, supervisor = self.reloader.last, self.generation.supervisor
        chosen = self.generation.settings
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(self.uptime_s, 1),
            "ready": all(part.ready for part in parts.values()),
            "parts": {name: asdict(part) for name, part in parts.items()},
            "model": chosen.url or chosen.model,
            "generation_pid": supervisor.pid if supervisor else None,
            "generation_restarts": self.generation.restarts,
            "adapter_restarts": {n: a.status.restarts for n, a in self.adapters.items()},
            "waiting": self.lanes.waiting,
            "answering": self.responder.answering,
            "reload": None
            if last is None
            else {"at": last.at.isoformat(), "result": last.result, "faults": list(last.faults)},
        }


def _adapter(hosted: HostedAdapter) -> PartHealth:
    status = hosted.status
    state = str(status.state) if status.ready or status.state != "running" else "not connected"
    return PartHealth(status.ready, state, status.detail, status.remedy)
