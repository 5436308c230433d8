"""What the process is told by signals."""

from __future__ import annotations

import asyncio
import signal

import structlog

log = structlog.get_logger(__name__)


class Signals:
    """`stop` is set by the first SIGINT or SIGTERM, `hurry` by the second, `reload` by SIGHUP."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reload = asyncio.Event()

    def install(self) -> None:
        """Take the process's signals, in the running event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.end, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def end(self, why: str) -> None:
        """End the daemon; said again, end it without waiting for the answers being written."""
        hurry = self.stop.is_set()
        (self.hurry if hurry else self.stop).set()
        log.info("stop_asked", by=why, hurry=hurry)
