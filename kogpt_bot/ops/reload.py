"""Reading the configuration again: on SIGHUP, and when the file has changed.

The file is looked at every two seconds rather than watched by inotify: a `stat` is cheap, works on
every file system (network folders, bind mounts, Kubernetes' links), and sees an editor that
replaces the file as well as one that writes into it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from pathlib import Path

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.config import Settings
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.metrics import Metrics
from kogpt_bot.ops.notify import Notifier

log = structlog.get_logger(__name__)

LOOK_S = 2.0

# What takes effect without a restart, and what does not; a test finds a section in neither.
LIVE = frozenset(
    {
        "language", "defaults", "overrides", "personas", "generation", "adapters", "owners",
        "privacy", "logging", "limits",
    }
)  # fmt: skip
NEEDS_RESTART = frozenset(
    {
        "data_dir", "store", "moderation", "console",
        "logging.format", "logging.file", "logging.keep_days", "logging.max_mb",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reload:
    """How the last reload ended: `applied`, `unchanged` or `refused`, and the faults."""

    at: datetime
    result: str
    faults: tuple[str, ...] = ()


class Reloader:
    """Keeps the settings in force; bad ones never take effect.

    `load` returns the file's settings; `apply` carries them out, given the old and the new. Both
    raise ConfigurationError, one line per fault, and have changed nothing then.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        apply: Callable[[Settings, Settings], Awaitable[None]],
        *,
        clock: Clock,
        metrics: Metrics,
        notifier: Notifier,
    ) -> None:
        self.settings = settings
        self.last: Reload | None = None
        self._load = load
        self._apply = apply
        self._clock = clock
        self._metrics = metrics
        self._notifier = notifier

    async def run(self, asked: asyncio.Event, file: Path | None) -> None:
        """Reload when `asked` is set and when `file` has changed, until cancelled."""
        seen = _look(file)
        while True:
            if not await self._asked(asked):
                now = _look(file)
                if now == seen:
                    continue
                await self._clock.sleep(LOOK_S / 10)  # an editor that is still writing
                seen = _look(file)
                if seen is None:  # gone: between two steps of an editor, or for good
                    continue
            else:
                seen = _look(file)
            await self.reload()

    async def _asked(self, asked: asyncio.Event) -> bool:
        """Wait for the next look; returns whether somebody asked meanwhile."""
        look = asyncio.ensure_future(self._clock.sleep(LOOK_S))
        ask = asyncio.ensure_future(asked.wait())
        try:
            await asyncio.wait([look, ask], return_when=asyncio.FIRST_COMPLETED)
        finally:
            look.cancel()
            ask.cancel()
        was_asked = asked.is_set()
        asked.clear()
        return was_asked

    async def reload(self) -> Reload:
        """Read the settings and carry them out, if they are good; the log says what came of it."""
        self._notifier.reloading()
        try:
            new = await asyncio.to_thread(self._load)
            result = await self._take(new)
        except ConfigurationError as error:
            result, faults = "refused", tuple(str(error).split("\n"))
            for fault in faults:
                log.error("configuration_refused", fault=fault)  # noqa: TRY400
        except Exception:
            log.exception("reload_failed")
            result, faults = "refused", ("an error of the program; see the log",)
        else:
            faults = ()
        self.last = Reload(self._clock.now(), result, faults)
        self._metrics.reloaded(result)
        self._notifier.ready(f"configuration {result}")
        return self.last

    async def _take(self, new: Settings) -> str:
        old = self.settings
        changed = [
            each.name
            for each in fields(Settings)
            if getattr(old, each.name) != getattr(new, each.name)
        ]
        await self._apply(old, new)  # also without a change: what has failed is tried again
        self.settings = new
        if not changed:
            log.info("configuration_unchanged")
            return "unchanged"
        for key in sorted(NEEDS_RESTART):
            if attrgetter(key)(old) == attrgetter(key)(new):
                continue
            log.warning("reload_needs_restart", key=key, remedy="restart kogpt-bot for it")
        log.info("configuration_reloaded", changed=changed)
        return "applied"


def _look(file: Path | None) -> tuple[int, int, int] | None:
    """Return what changes with the file; None where there is none."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
