"""How the link to Telegram is, for the operator."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)


class Link:
    """Up, or down and why; and how often it came back."""

    def __init__(self) -> None:
        self.detail = "not connected yet"
        self.is_up = False
        self.reconnects = 0
        self._was_up = False

    def up(self) -> None:
        """Note that Telegram answers."""
        if self.is_up:
            return
        self.reconnects += self._was_up
        self.is_up = self._was_up = True
        self.detail = ""
        log.info("connected", reconnects=self.reconnects)

    def down(self, why: str) -> None:
        """Note that it does not."""
        self.is_up, self.detail = False, why
