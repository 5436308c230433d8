"""Pings for systemd's watchdog, tied to real progress: of the event loop, and of the engine."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.metrics import Metrics
from kogpt_bot.ops.notify import Notifier

log = structlog.get_logger(__name__)

LATE_S = 1.0  # a loop that turns so late is worth a line in the log


async def keep_pinging(
    notifier: Notifier,
    clock: Clock,
    metrics: Metrics,
    stuck: Callable[[], str],
    status: Callable[[], str],
) -> None:
    """Ping three times in systemd's interval, for as long as nothing is stuck.

    That this runs at all says that the event loop turns. `stuck` says why the engine does not
    go on, in spite of its supervisor: then the pings end, and systemd restarts all of it.
    """
    interval = (notifier.watchdog_s or 30.0) / 3
    quiet = False
    while True:
        began = clock.monotonic()
        if why := stuck():
            if not quiet:
                log.critical("watchdog_gives_up", why=why)
            quiet = True
        else:
            quiet = False
            notifier.ping()
        notifier.status(status())
        await clock.sleep(interval)
        late = clock.monotonic() - began - interval
        metrics.loop_late(late)
        if late > LATE_S:
            log.warning("event_loop_late", by_s=round(late, 2))
