"""What can be set about the terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TerminalSettings:
    """The section `adapters.terminal`; `kogpt-bot chat` sets `once` from its option."""

    speaker: str = "나"  # the name under which the person at the keyboard speaks
    room: str = "terminal"  # conversations in different rooms do not know of each other
    once: str = ""  # answer this one message and end
