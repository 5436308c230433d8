"""The composition root: builds the parts, runs them, changes them, and stops them in reverse order.

The order of the start is store, generation, adapters, answers, and then what looks after them; a
stop goes the other way round: no answer is begun any more, those that are being written are
brought to their end while the adapters can still show them, and only then do the adapters go.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.clock import Clock, SystemClock
from kogpt_bot.commands import Desk, Parts
from kogpt_bot.commands.rights import Rights
from kogpt_bot.config import Settings, resolve_layers
from kogpt_bot.config.load import plugins
from kogpt_bot.config.secrets import secrets
from kogpt_bot.console.listen import serve_port, serve_socket
from kogpt_bot.console.server import make_port_app, make_socket_app
from kogpt_bot.console.view import DaemonView
from kogpt_bot.conversation.manager import ConversationManager
from kogpt_bot.conversation.setting_values import check_overrides
from kogpt_bot.conversation.settings import SettingsLayers
from kogpt_bot.delivery.announcer import Announcer
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.inbox import MessageInbox
from kogpt_bot.delivery.keeper import LaneKeeper
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.delivery.notices import Notice
from kogpt_bot.delivery.opt_outs import OptOuts
from kogpt_bot.delivery.responder import Responder
from kogpt_bot.generation.supervisor import GenerationSupervisor
from kogpt_bot.metrics import Metrics
from kogpt_bot.moderation.parts import Moderation
from kogpt_bot.moderation.parts import build as build_moderation
from kogpt_bot.ops import logging as logs
from kogpt_bot.ops.adapters import AdapterHost, AdapterState, HostedAdapter
from kogpt_bot.ops.generation import GenerationLink
from kogpt_bot.ops.intake import CountedInbox
from kogpt_bot.ops.lifecycle import Lifecycle
from kogpt_bot.ops.notify import Notifier
from kogpt_bot.ops.reload import Reloader
from kogpt_bot.ops.signals import Signals
from kogpt_bot.ops.sweeper import Sweeper
from kogpt_bot.ops.watchdog import keep_pinging
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.secret import read_secret
from kogpt_bot.store import Store
from kogpt_bot.store.answers import Answers
from kogpt_bot.store.database import DATABASE, sqlite_url
from kogpt_bot.store.maintenance import vacuum

log = structlog.get_logger(__name__)

CONCURRENCY = 64  # channels answered at once; the service has its own queue

# How long the parts may take to stop. With the 20 s that answers get at most, all of it is over
# within 25 s of the signal.
STORE_PATIENCE_S = 1.0
GENERATION_PATIENCE_S = 2.5
ADAPTERS_PATIENCE_S = 2.0
ANSWERS_PATIENCE_S = 21.0  # they end by themselves after `limits.drain_s`, 20 s at most


@dataclass(frozen=True, slots=True)
class ConfigurationSource:
    """Where the configuration comes from, to read it again: `file` is None without one."""

    load: Callable[[], Settings]
    file: Path | None


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that runs."""

    adapters: Mapping[str, HostedAdapter]
    generation: GenerationLink
    store: Store
    metrics: Metrics
    reloader: Reloader

    @property
    def supervisor(self) -> GenerationSupervisor | None:
        """The one of our own process, where there is one."""
        return self.generation.supervisor


def database_url(settings: Settings) -> str:
    """Return the database's URL: SQLite in the data folder, where no other is named."""
    return settings.store.url or sqlite_url(settings.data_dir / DATABASE)


def make_adapters(settings: Settings) -> dict[str, Adapter]:
    """Return the configured adapters, made but not connected."""
    return {name: _make_adapter(settings, name) for name in settings.adapters}


def _make_adapter(settings: Settings, name: str) -> Adapter:
    adapter: Adapter = plugins()[name].load().create(settings.adapters[name])
    return adapter


async def run(
    settings: Settings,
    adapters: Mapping[str, Adapter],
    signals: Signals,
    *,
    source: ConfigurationSource | None = None,
    pipeline: logs.Pipeline | None = None,
    started: Callable[[Running], None] | None = None,
    until_adapter_ends: bool = False,
    resume: bool = True,
    clock: Clock | None = None,
) -> None:
    """Run until `signals.stop`; with `until_adapter_ends`, also until an adapter returns.

    With a `source` the configuration is read again when it changes. With `resume`, what was left
    open before is answered first: for the one daemon of a data folder, not for a chat beside
    others.

    Raises KogptBotError when the parts cannot be built, or when no adapter can go on.
    """
    clock, metrics = clock or SystemClock(), Metrics()
    notifier = Notifier.from_environment(os.environ)
    async with Lifecycle(clock) as parts:
        if pipeline is not None:
            parts.run("log", pipeline.keep_ticking())
        store = await Store.open(database_url(settings), heals=resume)
        parts.started("store", store.close, patience_s=STORE_PATIENCE_S)

        generation = GenerationLink(settings.generation, Pseudonyms.load(settings.data_dir))
        generation.start()
        parts.started("generation", generation.stop, patience_s=GENERATION_PATIENCE_S)

        host = AdapterHost(adapters, clock, metrics)
        announcer = Announcer(host.adapters, clock)
        core = await _core(settings, host, store, generation, announcer, clock, metrics)
        parts.started("moderation's file", core.moderation.close, patience_s=STORE_PATIENCE_S)
        parts.started("adapters", host.stop, patience_s=ADAPTERS_PATIENCE_S)
        keeper = LaneKeeper(store, core.lanes, host.adapters, clock, resumes=resume)
        if store.shared:
            parts.run("lanes", keeper.run())
        drain = partial(_drain, core, signals.hurry)
        parts.started("answers", drain, patience_s=ANSWERS_PATIENCE_S)
        parts.run("announcer", announcer.run())
        parts.run("moderation", core.moderation.run())
        parts.run("sweeper", core.sweeper.run())
        parts.run("follower", core.desk.follow())
        await keeper.start()
        host.start(CountedInbox(core.inbox, metrics))

        reloader = Reloader(
            settings,
            source.load if source else lambda: settings,
            partial(_apply, core, host, keeper, generation, pipeline),
            clock=clock, metrics=metrics, notifier=notifier,
        )  # fmt: skip
        view = DaemonView(
            host.adapters, generation, store, core.lanes, core.responder, metrics, reloader,
            pipeline, clock, clock.monotonic(),
        )  # fmt: skip
        running = Running(host.adapters, generation, store, metrics, reloader)
        if source is not None:
            parts.run("reload", reloader.run(signals.reload, source.file))
            _open_console(parts, settings, view)
        stuck, status = partial(_stuck, generation), partial(_status_line, running)
        parts.run("watchdog", keep_pinging(notifier, clock, metrics, stuck, status))
        if started is not None:
            started(running)
        notifier.ready(status())
        await _until_over(host, signals.stop, until_adapter_ends=until_adapter_ends)
        notifier.stopping()
        log.info("stopping", answering=core.responder.answering, waiting=core.lanes.waiting)
    log.info("stopped")


@dataclass(slots=True)
class _Core:
    """What answers messages."""

    book: ChannelBook
    inbox: MessageInbox
    lanes: Lanes
    responder: Responder
    desk: Desk
    moderation: Moderation
    sweeper: Sweeper
    store: Store
    drain_limit_s: float

    async def layers(self, settings: Settings) -> SettingsLayers:
        """Return the file's settings with those of commands on top."""
        command, faults = check_overrides(await self.store.settings.all())
        for fault in faults:  # a setting of another version, say: left out, and said
            log.warning("stored_setting_ignored", why=fault)
        return SettingsLayers(resolve_layers(settings).file, command)

    def replace(self, settings: Settings) -> None:
        """Take over changed owners, times and limits."""
        self.sweeper.replace(settings.privacy)
        limits = settings.limits
        self.desk.replace(settings.owners, per_minute=limits.actions_per_minute)
        self.lanes.resize(per_channel=limits.waiting_per_channel, total=limits.waiting_total)
        self.inbox.replace_limits(limits)
        self.responder.replace_limits(limits)
        self.drain_limit_s = limits.drain_s


async def _core(
    settings: Settings,
    host: AdapterHost,
    store: Store,
    generation: GenerationLink,
    announcer: Announcer,
    clock: Clock,
    metrics: Metrics,
) -> _Core:
    randomness, limits = random.SystemRandom(), settings.limits
    book = ChannelBook(SettingsLayers(), settings.personas)
    source = generation.source
    manager = ConversationManager(source.generate, lambda: randomness.getrandbits(31))
    moderation = build_moderation(
        settings,
        store.profanity,
        clock,
        metrics,
        announcer.announce,
        lambda key: book.effective(key).settings.language,
    )
    answers = moderation.answers(
        manager, lambda asked: Notice.ANSWER_BLOCKED.text(asked.settings.language)
    )
    responder = Responder(host.adapters, store, book, answers, source, limits, clock, metrics)
    lanes = Lanes(
        responder.answer,
        clock,
        per_channel=limits.waiting_per_channel,
        total=limits.waiting_total,
        concurrency=CONCURRENCY,
    )
    people = OptOuts(store, moderation.pseudonyms)
    await people.load()
    sweeper = Sweeper(store, partial(vacuum, database_url(settings)), settings.privacy, clock)
    parts = Parts(
        store=store,
        answers=Answers(store),
        lanes=lanes,
        responder=responder,
        book=book,
        people=people,
        model=source,
        adapters=host.adapters,
        pseudonyms=moderation.pseudonyms,
        rights=Rights(settings.owners),
        clock=clock,
        hits=moderation.channel,
        erased=sweeper.erased,
    )
    desk = Desk(parts, per_minute=limits.actions_per_minute)
    draw, incoming = randomness.random, moderation.incoming
    inbox = MessageInbox(
        store,
        lanes,
        responder.stop,
        desk.act,
        people,
        book,
        limits,
        clock,
        draw,
        incoming,
        announcer.announce,
    )
    core = _Core(book, inbox, lanes, responder, desk, moderation, sweeper, store, limits.drain_s)
    book.replace(await core.layers(settings), settings.personas)
    return core


async def _until_over(host: AdapterHost, stop: asyncio.Event, *, until_adapter_ends: bool) -> None:
    """Return at `stop`, or when there is nothing left to run; raises why it cannot go on."""
    stopping = asyncio.create_task(stop.wait())
    try:
        while host.running:
            ended = asyncio.create_task(host.wait_any_ended())
            await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if stopping.done():
                return
            states = [each.status.state for each in host.adapters.values()]
            if until_adapter_ends and AdapterState.ENDED in states:
                return
        if host.failure is not None and not stopping.done():
            raise host.failure
    finally:
        stopping.cancel()


async def _drain(core: _Core, hurry: asyncio.Event) -> None:
    """Begin no answer any more; let those that are being written end, unless somebody hurries.

    What waits stays open in the store, as do messages that still come in: the next start answers
    them.
    """
    closing = asyncio.create_task(core.lanes.close(core.drain_limit_s))
    hurried = asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait([closing, hurried], return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            await core.lanes.close(0.0)
        await closing
    finally:
        hurried.cancel()


async def _apply(
    core: _Core,
    host: AdapterHost,
    keeper: LaneKeeper,
    generation: GenerationLink,
    pipeline: logs.Pipeline | None,
    old: Settings,
    new: Settings,
) -> None:
    """Carry out changed settings; ConfigurationError, and nothing changed, where they cannot be.

    Adapters whose section is as it was run on, unless they have failed: those are tried again.
    """
    if pipeline is not None:
        pipeline.learn(secrets(new))
    failed = {n for n, each in host.adapters.items() if each.status.state is AdapterState.FAILED}
    changed = {
        name: _make_adapter(new, name)
        for name, section in new.adapters.items()
        if name in failed or name not in host.adapters or section != old.adapters.get(name)
    }
    layers = await core.layers(new)
    await generation.change(new.generation)  # it begins with what can be refused: the secret
    core.book.replace(layers, new.personas)
    core.replace(new)
    logs.set_level(new.logging.level)
    await host.apply(
        changed,
        removed=frozenset(host.adapters.keys() - new.adapters.keys()),
        before_start=keeper.take_up,
    )


def _open_console(parts: Lifecycle, settings: Settings, view: DaemonView) -> None:
    """Let the operator look: over the socket in `data_dir`, and over a port where it is enabled."""
    socket_app = partial(make_socket_app, view)
    parts.run("console socket", serve_socket(settings.data_dir, socket_app))
    chosen = settings.console
    if not chosen.enabled:
        return
    token = read_secret("console.token", chosen.token_env, chosen.token_file)
    port_app = make_port_app(view, chosen, token)

    def listening(url: str) -> None:
        log.info("console_listens", url=url)

    parts.run("console", serve_port(chosen, port_app, view.clock, listening))


def _stuck(generation: GenerationLink) -> str:
    """Return why the engine does not go on, in spite of its supervisor; "" where it does."""
    supervisor = generation.supervisor
    return supervisor.stuck if supervisor is not None else ""


def _status_line(running: Running) -> str:
    supervisor = running.supervisor
    model = str(supervisor.status.state) if supervisor is not None else "elsewhere"
    adapters = ", ".join(f"{n} {each.status.state}" for n, each in running.adapters.items())
    return f"generation {model}; {adapters}"
