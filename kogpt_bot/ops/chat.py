"""`kogpt-bot chat`: the same bot with the terminal as its only platform."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kogpt_bot import app
from kogpt_bot.adapter import Adapter
from kogpt_bot.config import Settings, StoreSettings
from kogpt_bot.config.load import plugins
from kogpt_bot.config.secrets import secrets
from kogpt_bot.errors import ConfigurationError, ModelError
from kogpt_bot.generation.supervisor import GenerationSupervisor, State, Status
from kogpt_bot.ops import logging as logs
from kogpt_bot.ops.signals import Signals

POLL_S = 0.1
READY_S = 600.0  # a large model from a slow disk


async def chat(settings: Settings, *, once: str, speaker: str | None) -> None:
    """Chat until the input ends; with `once`, answer that message and return.

    Raises ModelError when the model cannot be loaded.
    """
    logs.configure("warning", "console", hidden=secrets(settings))
    # Who writes here waits for each answer: there is nothing more to hear before it.
    settings = replace(settings, limits=replace(settings.limits, burst_window_s=0.0))
    if once:  # a question of its own: nothing before it matters, and nothing is kept
        with tempfile.TemporaryDirectory(prefix="kogpt-bot-") as folder:
            fresh = replace(settings, data_dir=Path(folder), store=StoreSettings())
            await _chat(fresh, once, speaker)
    else:
        await _chat(settings, once, speaker)


async def _chat(settings: Settings, once: str, speaker: str | None) -> None:
    adapter = _terminal(settings, once, speaker)
    signals = Signals()
    ready = asyncio.Event()
    running: list[app.Running] = []

    def started(now: app.Running) -> None:
        running.append(now)
        ready.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signals.stop.set)
    _handle_interrupt(adapter, signals.stop)
    gated = _Gated(adapter, ready, running)
    adapters: Mapping[str, Adapter] = {"terminal": gated}
    await app.run(
        settings, adapters, signals, started=started, until_adapter_ends=True, resume=False
    )


def _terminal(settings: Settings, once: str, speaker: str | None) -> Adapter:
    entry = plugins().get("terminal")
    if entry is None:
        raise ConfigurationError("the terminal adapter is not installed; pip install kogpt-bot")
    plugin = entry.load()
    section = settings.adapters.get("terminal") or plugin.settings()
    changes: dict[str, Any] = {"once": once}
    if speaker:
        changes["speaker"] = speaker
    adapter: Adapter = plugin.create(replace(section, **changes))
    return adapter


def _handle_interrupt(adapter: Adapter, stop: asyncio.Event) -> None:
    """Ctrl-C stops the answer that is being written; where there is none, the chat."""
    interrupt = getattr(adapter, "interrupt", None)

    async def handle() -> None:
        if interrupt is None or not await interrupt():
            stop.set()

    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def on_signal() -> None:
        task = loop.create_task(handle())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGINT, on_signal)


class _Gated:
    """The terminal, which waits for the model before it asks for a line."""

    def __init__(self, inner: Adapter, ready: asyncio.Event, running: list[app.Running]) -> None:
        self._inner = inner
        self._ready = ready
        self._running = running

    async def run(self, inbox: Any) -> None:
        """Wait for the model, with a bar on a terminal, then run."""
        await self._ready.wait()
        supervisor = self._running[0].supervisor
        if supervisor is not None:
            await _show_loading(supervisor)
        await self._inner.run(inbox)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def _show_loading(supervisor: GenerationSupervisor) -> None:
    waiting = asyncio.create_task(supervisor.wait_ready(READY_S))
    try:
        if sys.stderr.isatty():
            await _bar(supervisor, waiting)
        await waiting
    except ModelError as error:
        raise ConfigurationError(str(error)) from error
    finally:
        waiting.cancel()


async def _bar(supervisor: GenerationSupervisor, waiting: asyncio.Task[None]) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("loading", total=1.0)
        while not waiting.done():
            status: Status = supervisor.status
            if status.state is State.STARTING:
                progress.update(
                    task, description=f"loading {status.detail}", completed=status.progress
                )
            await asyncio.sleep(POLL_S)
