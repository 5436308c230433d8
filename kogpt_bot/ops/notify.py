"""What systemd is told: the datagrams of sd_notify(3).

The protocol is one `sendto`. The package `sdnotify` was last released in 2017 and knows no abstract
sockets' errors; `systemd-python` needs libsystemd's headers to build: neither is worth it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

log = structlog.get_logger(__name__)


class Notifier:
    """Tells the service manager how it goes; says nothing where there is none.

    `watchdog_s` is how often it wants to hear `ping`; None where it does not.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if self._address else None

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """Take what systemd left in the environment, so that no child of ours finds it there."""
        address = environment.pop("NOTIFY_SOCKET", "")
        pid = environment.pop("WATCHDOG_PID", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        ours = not pid or pid == str(os.getpid())
        watched = ours and microseconds.isascii() and microseconds.isdigit()
        return cls(address, int(microseconds) / 1e6 if watched else None)

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is complete."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the daemon is on its way out."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def status(self, text: str) -> None:
        """Say in a line how it goes, for `systemctl status`."""
        self._send(f"STATUS={_line(text)}")

    def ping(self) -> None:
        """Say that all is well; without it for `watchdog_s`, systemd restarts the daemon."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), self._address)
        except (
            OSError
        ) as error:  # a full buffer, a manager that restarts: the next one gets through
            log.debug("notify_failed", why=error.strerror)


def _line(text: str) -> str:
    return " ".join(text.split())
