"""Where the person's lines come from: a prompt with history, or a pipe."""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol, TextIO


class Lines(Protocol):
    """The lines that a person types."""

    async def read(self, prompt: str) -> str | None:
        """Return the next line without its end; None when there are no more."""
        ...


class PromptLines:
    """Lines from a terminal, with editing that knows how wide Hangul is, and history."""

    def __init__(self) -> None:
        from prompt_toolkit import PromptSession

        self._session: PromptSession[str] = PromptSession()

    async def read(self, prompt: str) -> str | None:
        """Ask for a line; Ctrl-D and Ctrl-C end."""
        try:
            return await self._session.prompt_async(prompt, handle_sigint=True)
        except (EOFError, KeyboardInterrupt):
            return None


class PipeLines:
    """Lines from something that is no terminal."""

    def __init__(self, source: TextIO) -> None:
        self._source = source

    async def read(self, prompt: str) -> str | None:  # nobody sees it
        """Return the next line of the pipe."""
        line = await asyncio.to_thread(self._source.readline)
        return line.rstrip("\r\n") if line else None


def standard_input() -> Lines:
    """Return the lines of standard input."""
    return PromptLines() if sys.stdin.isatty() and sys.stdout.isatty() else PipeLines(sys.stdin)
