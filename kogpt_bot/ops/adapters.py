"""Adapters under supervision: one that fails is run again, and the others never notice."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType

import structlog

from kogpt_bot.adapter import Adapter, Capabilities, Connection, Drafting, Inbox, Reporting
from kogpt_bot.clock import Clock
from kogpt_bot.errors import AdapterError, ConfigurationError, KogptBotError, Malformed
from kogpt_bot.messages import ChannelKey, Outgoing
from kogpt_bot.metrics import Metrics

log = structlog.get_logger(__name__)

BACKOFF_FIRST_S = 1.0
BACKOFF_CAP_S = 60.0  # a platform's outage ends at some time; a minute later the bot is there
RAN_WELL_S = 30.0  # who ran so long was connected: the next pause is a short one again
STOP_PATIENCE_S = 1.0  # until `run` returns after `stop`; then it is cancelled


class AdapterState(enum.StrEnum):
    """What an adapter does."""

    RUNNING = "running"
    RESTARTING = "restarting"  # it failed, and waits for its next try
    FAILED = "failed"  # for good: a wrong token, a port that is taken
    ENDED = "ended"  # it had nothing more to do
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """The state, why, and what to do about it."""

    state: AdapterState
    detail: str = ""
    remedy: str = ""
    restarts: int = 0
    reconnects: int = 0

    @property
    def ready(self) -> bool:
        """Whether messages come in and answers go out."""
        return self.state is AdapterState.RUNNING and not self.detail


class HostedAdapter:
    """One adapter as the core holds it: it runs again after a fault, and may be exchanged.

    It has the adapter port itself and hands each call on, so an answer that is being written
    goes on with the adapter's successor.
    """

    def __init__(self, adapter: Adapter, clock: Clock, metrics: Metrics) -> None:
        self.name = adapter.name
        self.failure: KogptBotError | None = None  # why it cannot go on
        self._adapter = adapter
        self._clock = clock
        self._metrics = metrics
        self._status = AdapterStatus(AdapterState.STOPPED)
        self._restarts = 0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> AdapterStatus:
        """What it does now."""
        found = self._status
        inner = self._adapter
        link = inner.connection() if isinstance(inner, Reporting) else Connection(True)
        detail = found.detail
        if found.state is AdapterState.RUNNING and not link.up:
            detail = link.detail or "not connected"
        return AdapterStatus(found.state, detail, found.remedy, self._restarts, link.reconnects)

    def start(self, inbox: Inbox, ended: Callable[[], None]) -> None:
        """Run it in a task; `ended` is called when it will run no more."""
        self._stopping = asyncio.Event()
        self.failure = None
        self._status = AdapterStatus(AdapterState.RUNNING)
        self._task = asyncio.create_task(self._keep(inbox), name=f"adapter {self.name}")
        self._task.add_done_callback(lambda _: ended())

    async def exchange(self, adapter: Adapter, inbox: Inbox, ended: Callable[[], None]) -> None:
        """Stop the adapter and run another one in its place."""
        await self.stop()
        self._adapter = adapter
        self.start(inbox, ended)

    async def stop(self) -> None:
        """End it; returns when it is over, however it takes it."""
        self._stopping.set()
        try:
            async with asyncio.timeout(STOP_PATIENCE_S):
                await self._adapter.stop()
        except TimeoutError:
            log.warning("adapter_stops_late", adapter=self.name)
        except Exception:
            log.exception("adapter_stop_failed", adapter=self.name)
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=STOP_PATIENCE_S)
            for task in late:
                task.cancel()
                await asyncio.wait([task])
        if self._status.state is not AdapterState.FAILED:
            self._status = AdapterStatus(AdapterState.STOPPED)

    async def _keep(self, inbox: Inbox) -> None:
        """Run the adapter, again after a fault with growing pauses, until it is over."""
        pause = BACKOFF_FIRST_S
        while True:
            began = self._clock.monotonic()
            self._status = AdapterStatus(AdapterState.RUNNING)
            error = await self._run_once(inbox)
            if error is None or self._stopping.is_set():
                self._status = AdapterStatus(AdapterState.ENDED)
                return
            if _for_good(error):
                self._fail(error)
                return
            if self._clock.monotonic() - began >= RAN_WELL_S:
                pause = BACKOFF_FIRST_S
            await self._pause(error, pause)
            if self._stopping.is_set():
                return
            pause = min(pause * 2, BACKOFF_CAP_S)

    async def _run_once(self, inbox: Inbox) -> Exception | None:
        try:
            await self._adapter.run(inbox)
        except KogptBotError as error:
            return error
        except Exception as error:
            log.exception("adapter_crashed", adapter=self.name)
            return error
        return None

    def _fail(self, error: Exception) -> None:
        detail, _, remedy = str(error).partition("; ")
        remedy = remedy or f"correct adapters.{self.name}: its token, most likely"
        self.failure = error if isinstance(error, KogptBotError) else None
        self._status = AdapterStatus(AdapterState.FAILED, detail, remedy)
        log.error("adapter_failed", adapter=self.name, why=detail, remedy=remedy)

    async def _pause(self, error: Exception, seconds: float) -> None:
        why = str(error) or type(error).__name__
        self._status = AdapterStatus(AdapterState.RESTARTING, why)
        self._restarts += 1
        self._metrics.adapter_restarted(self.name)
        log.warning("adapter_restarts", adapter=self.name, why=why, in_s=seconds)
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([sleep, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            stop.cancel()

    # The port, handed on.

    @property
    def capabilities(self) -> Capabilities:
        """What the platform can do."""
        return self._adapter.capabilities

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        """What it can do in one channel."""
        return self._adapter.capabilities_in(key)

    async def run(self, inbox: Inbox) -> None:
        """Run the adapter itself, once."""
        await self._adapter.run(inbox)

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        """Show a message."""
        async with self._counted("send"):
            return await self._adapter.send(key, message)

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        """Change a message."""
        async with self._counted("edit"):
            await self._adapter.edit(key, message_id, message)

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        """Remove a message."""
        async with self._counted("delete"):
            await self._adapter.delete(key, message_id)

    async def typing(self, key: ChannelKey) -> None:
        """Show that the bot is writing."""
        async with self._counted("typing"):
            await self._adapter.typing(key)

    async def draft(self, key: ChannelKey, draft_id: int, message: Outgoing) -> None:
        """Show the text so far, where `native_drafts` says that this can be done."""
        if not isinstance(self._adapter, Drafting):
            raise Malformed(f"{self.name} shows no drafts")
        async with self._counted("draft"):
            await self._adapter.draft(key, draft_id, message)

    @asynccontextmanager
    async def _counted(self, call: str) -> AsyncIterator[None]:
        began, outcome = self._clock.monotonic(), "ok"
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            seconds = self._clock.monotonic() - began
            self._metrics.platform_call(self.name, call, outcome, seconds)


def _for_good(error: Exception) -> bool:
    """Whether trying again would fail the same way: a configuration, a token."""
    if isinstance(error, ConfigurationError):
        return True
    return isinstance(error, AdapterError) and error.exit_code != 1


class AdapterHost:
    """All adapters that run. `adapters` is live: what is added or removed shows in it at once."""

    def __init__(self, adapters: Mapping[str, Adapter], clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._hosted = {
            name: HostedAdapter(adapter, clock, metrics) for name, adapter in adapters.items()
        }
        self.adapters: Mapping[str, HostedAdapter] = MappingProxyType(self._hosted)
        self._inbox: Inbox | None = None
        self._ended = asyncio.Event()

    def start(self, inbox: Inbox) -> None:
        """Run every adapter."""
        self._inbox = inbox
        for hosted in self._hosted.values():
            hosted.start(inbox, self._ended.set)

    async def apply(
        self,
        changed: Mapping[str, Adapter],
        *,
        removed: frozenset[str],
        before_start: Callable[[Mapping[str, Adapter]], Awaitable[None]],
    ) -> None:
        """Run new and changed adapters, and stop the ones that are no longer wanted.

        `before_start` is awaited with the new ones before they hear anything.
        """
        if self._inbox is None:
            raise RuntimeError("the adapters do not run yet")
        for name in removed & self._hosted.keys():
            await self._hosted.pop(name).stop()
            log.info("adapter_removed", adapter=name)
        new = {}
        for name, adapter in changed.items():
            if (known := self._hosted.get(name)) is not None:
                await known.exchange(adapter, self._inbox, self._ended.set)
                log.info("adapter_exchanged", adapter=name)
            else:
                new[name] = HostedAdapter(adapter, self._clock, self._metrics)
        if new:
            self._hosted |= new
            await before_start(new)
        for name, hosted in new.items():
            hosted.start(self._inbox, self._ended.set)
            log.info("adapter_added", adapter=name)

    async def wait_any_ended(self) -> None:
        """Return when an adapter has come to its end, for whatever reason."""
        await self._ended.wait()
        self._ended.clear()

    @property
    def running(self) -> bool:
        """Whether any adapter runs, or will again."""
        going = (AdapterState.RUNNING, AdapterState.RESTARTING)
        return any(each.status.state in going for each in self._hosted.values())

    @property
    def failure(self) -> KogptBotError | None:
        """Why one of them cannot go on."""
        return next((each.failure for each in self._hosted.values() if each.failure), None)

    async def stop(self) -> None:
        """Stop all of them, at the same time."""
        await asyncio.gather(*(each.stop() for each in self._hosted.values()))
