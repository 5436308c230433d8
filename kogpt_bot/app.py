"""The composition root: builds the parts, runs them, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.clock import SystemClock
from kogpt_bot.config import Settings, resolve_layers
from kogpt_bot.config.load import plugins
from kogpt_bot.conversation.manager import ConversationManager
from kogpt_bot.conversation.setting_values import check_overrides
from kogpt_bot.conversation.settings import SettingsLayers
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.inbox import MessageInbox
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.delivery.responder import Responder
from kogpt_bot.errors import AdapterError, ConfigurationError, KogptBotError
from kogpt_bot.generation.client import GenerationClient
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.source import ServedModelSource
from kogpt_bot.generation.supervisor import GenerationSupervisor
from kogpt_bot.secret import read_secret
from kogpt_bot.store import Store, TurnState
from kogpt_bot.store.database import sqlite_url

log = structlog.get_logger(__name__)

DATABASE = "kogpt.sqlite3"
DRAIN_S = 5.0  # answers that are being written get this long when the daemon stops
CONCURRENCY = 64  # channels answered at once; the service has its own queue
ADAPTER_BACKOFF_FIRST_S = 1.0
ADAPTER_BACKOFF_CAP_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that runs."""

    adapters: Mapping[str, Adapter]
    supervisor: GenerationSupervisor | None
    store: Store


def make_adapters(settings: Settings) -> dict[str, Adapter]:
    """Return the configured adapters, made but not connected."""
    installed = plugins()
    return {
        name: installed[name].load().create(section) for name, section in settings.adapters.items()
    }


async def run(
    settings: Settings,
    adapters: Mapping[str, Adapter],
    stop: asyncio.Event,
    *,
    started: Callable[[Running], None] | None = None,
    until_adapter_ends: bool = False,
    resume: bool = True,
) -> None:
    """Run until `stop` is set; with `until_adapter_ends`, also until an adapter returns.

    With `resume`, what was left open before is answered first: for the one daemon of a data
    folder, not for a chat beside others.

    Raises KogptBotError when the parts cannot be built, or when no adapter can go on.
    """
    async with AsyncExitStack() as stack:
        store = await Store.open(
            settings.store.url or sqlite_url(settings.data_dir / "kogpt.sqlite3")
        )
        stack.push_async_callback(store.close)
        client, supervisor = await stack.enter_async_context(_generation(settings))
        source = ServedModelSource(client, supervisor, settings.generation.tokenizer)
        inbox, lanes, responder = await _core(settings, adapters, store, source)
        stack.push_async_callback(lanes.close, DRAIN_S)
        if resume:
            await _resume(store, lanes, adapters)
        if started is not None:
            started(Running(adapters, supervisor, store))
        await _run_adapters(adapters, inbox, stop, until_adapter_ends=until_adapter_ends)
        log.info("stopping", answering=responder.answering, waiting=lanes.waiting)


@asynccontextmanager
async def _generation(
    settings: Settings,
) -> AsyncIterator[tuple[GenerationClient, GenerationSupervisor | None]]:
    """Give the way to the generation service, its own process running where there is no URL."""
    chosen = settings.generation
    key = read_secret("generation.api_key", chosen.api_key_env, chosen.api_key_file)
    if chosen.url is not None:
        base = chosen.url.rstrip("/").removesuffix("/v1")
        client = GenerationClient(base, api_key=key.reveal() if key else "")
        try:
            yield client, None
        finally:
            await client.close()
        return
    options = ServiceOptions(
        model=chosen.model,
        revision=chosen.revision,
        device=chosen.device,
        dtype=chosen.dtype,
        threads=chosen.threads,
        max_sequences=chosen.max_sequences,
    )
    supervisor = GenerationSupervisor(options)
    task = asyncio.create_task(supervisor.run(), name="generation")
    try:
        yield supervisor.client, supervisor
    finally:
        await supervisor.stop()
        await task


async def _core(
    settings: Settings,
    adapters: Mapping[str, Adapter],
    store: Store,
    source: ServedModelSource,
) -> tuple[MessageInbox, Lanes, Responder]:
    clock, randomness = SystemClock(), random.SystemRandom()
    command, faults = check_overrides(await store.settings.all())
    for fault in faults:  # a setting of another version, say: left out, and said
        log.warning("stored_setting_ignored", why=fault)
    layers = SettingsLayers(resolve_layers(settings).file, command)
    book = ChannelBook(layers, settings.personas)
    manager = ConversationManager(source.generate, lambda: randomness.getrandbits(31))
    limits = settings.limits
    responder = Responder(adapters, store, book, manager, source, limits, clock)
    lanes = Lanes(
        responder.answer,
        per_channel=limits.waiting_per_channel,
        total=limits.waiting_total,
        concurrency=CONCURRENCY,
    )
    inbox = MessageInbox(store, lanes, responder, book, limits, clock, randomness.random)
    return inbox, lanes, responder


async def _resume(store: Store, lanes: Lanes, adapters: Mapping[str, Adapter]) -> None:
    """Take up the turns that a stop or a crash left open.

    One that was being sent may have been shown: it is recorded as unknown and not repeated.
    """
    now = SystemClock().now()
    for turn in await store.unfinished(adapters.keys()):
        if turn.state is TurnState.SENDING:
            await store.finish(turn, TurnState.UNKNOWN, now, {"why": "interrupted while sending"})
        else:
            lanes.put(turn)


async def _run_adapters(
    adapters: Mapping[str, Adapter],
    inbox: MessageInbox,
    stop: asyncio.Event,
    *,
    until_adapter_ends: bool,
) -> None:
    """Run every adapter until `stop`; one that fails for good leaves the others running."""
    tasks = {
        asyncio.create_task(_run_adapter(adapter, inbox), name=f"adapter {name}")
        for name, adapter in adapters.items()
    }
    stopping = asyncio.create_task(stop.wait())
    failures: list[KogptBotError] = []
    try:
        while tasks and not stopping.done():
            waiting: Sequence[asyncio.Task[object]] = [*tasks, stopping]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [each for each in tasks if each in done]:
                tasks.discard(task)
                if (failure := task.result()) is not None:
                    failures.append(failure)
                elif until_adapter_ends:
                    return
        if failures and not stopping.done():
            raise failures[-1]
    finally:
        for adapter in reversed(list(adapters.values())):
            await adapter.stop()
        stopping.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _run_adapter(adapter: Adapter, inbox: MessageInbox) -> KogptBotError | None:
    """Run one adapter, again after a fault with growing pauses; returns why it cannot go on."""
    pause = ADAPTER_BACKOFF_FIRST_S
    while True:
        try:
            await adapter.run(inbox)
        except ConfigurationError as error:
            log.error("adapter_failed", adapter=adapter.name, why=str(error))  # noqa: TRY400
            return error
        except AdapterError as error:
            if error.exit_code != 1:
                log.error("adapter_failed", adapter=adapter.name, why=str(error))  # noqa: TRY400
                return error
            log.warning("adapter_restarts", adapter=adapter.name, why=str(error), in_s=pause)
        except Exception:
            log.exception("adapter_restarts", adapter=adapter.name, in_s=pause)
        else:
            return None
        await asyncio.sleep(pause)
        pause = min(pause * 2, ADAPTER_BACKOFF_CAP_S)
