"""The adapter port for a terminal: one room, one person, taking turns with the bot."""

from __future__ import annotations

import asyncio
import itertools
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from kogpt_bot import (
    Action,
    ActionKind,
    Attachment,
    Author,
    Capabilities,
    ChannelKey,
    Gone,
    Inbox,
    Incoming,
    Malformed,
    Outgoing,
    Refused,
    StoreError,
)
from kogpt_bot_terminal.commands import Wish, lines, parse, save
from kogpt_bot_terminal.lines import Lines
from kogpt_bot_terminal.settings import TerminalSettings

MAX_LENGTH = 100_000  # a terminal scrolls: nothing is split

ANSWERED = (ActionKind.REGENERATE, ActionKind.ANSWER)  # what an answer follows
QUIT = {"/끝", "/quit", "/exit"}
HELP = "/도움말 (help)  /다시 (again)  /지우기 (clear)  /끝 (quit)  Ctrl-C: 답을 멈춰요 (stop)"


class TerminalAdapter:
    """Reads a line, shows the answer as it is written, and reads the next one.

    Answers go to `output`. With `settings.once`, only that message is sent and only the answer's
    text is printed.
    """

    name = "terminal"
    capabilities = Capabilities(max_length=MAX_LENGTH, edits=True, min_edit_interval_s=0.05)

    def __init__(
        self, settings: TerminalSettings, lines: Lines, output: TextIO | None = None
    ) -> None:
        self._settings = settings
        self._lines = lines
        self._output = output or sys.stdout
        self._author = Author("terminal", settings.speaker)
        self._key = ChannelKey(self.name, settings.room)
        self._run_id = uuid.uuid4().hex[:8]
        self._ids = itertools.count(1)
        self._shown: dict[str, str] = {}
        self._answered = asyncio.Event()
        self._stopped = asyncio.Event()
        self._inbox: Inbox | None = None

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        """Return `capabilities`: all channels are alike."""
        return self.capabilities

    async def run(self, inbox: Inbox) -> None:
        """Talk until the input ends, `/끝`, or `stop`."""
        self._inbox = inbox
        talking = asyncio.create_task(self._talk(inbox))
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([talking, stopped], return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                talking.result()
        finally:
            talking.cancel()
            stopped.cancel()
            await asyncio.wait([talking, stopped])

    async def stop(self) -> None:
        """End the conversation."""
        self._stopped.set()

    async def interrupt(self) -> bool:
        """Stop the answer that is being written; returns whether there was one (Ctrl-C)."""
        if self._inbox is None or self._answered.is_set():
            return False
        await self._act(self._inbox, Wish(ActionKind.STOP))
        self._answered.set()
        return True

    async def _talk(self, inbox: Inbox) -> None:
        self._answered.set()
        if self._settings.once:
            await self._say(inbox, self._settings.once)
            return
        self._print(f"{HELP}\n")
        while (line := await self._lines.read(f"{self._author.name}> ")) is not None:
            if line.strip() in QUIT:
                return
            if wish := parse(line):
                await self._act(inbox, wish)
            elif line.strip().startswith("/"):
                self._print(f"{HELP}\n")
            elif line.strip():
                await self._say(inbox, line)

    async def _say(self, inbox: Inbox, text: str) -> None:
        self._answered.clear()
        id_ = f"{self._run_id}-{next(self._ids)}"
        message = Incoming(self._key, id_, self._author, text, datetime.now(UTC), direct=True)
        try:
            owed = await inbox.accept(message)
        except Refused as refusal:
            self._print(f"! {refusal.text}\n")
            owed = False
        except StoreError as error:
            self._print(f"! 메시지를 저장하지 못했어요: {error}\n")
            owed = False
        if owed:
            await self._answered.wait()
        self._answered.set()

    async def _act(self, inbox: Inbox, wish: Wish) -> None:
        answers = wish.kind in ANSWERED
        if answers:
            self._answered.clear()
        result = await inbox.act(
            Action(
                wish.kind,
                self._key,
                self._author,
                datetime.now(UTC),
                message_id=wish.message_id,
                name=wish.name,
                value=wish.value,
                direct=True,
            )
        )
        if answers and result.done:
            await self._answered.wait()
            return
        self._answered.set()
        told = "\n".join(f"! {line}" for line in lines(result))
        self._print(f"\n{told}\n")
        if result.attachment is not None:
            self._save(result.attachment)

    def _save(self, file: Attachment) -> None:
        try:
            self._print(f"! {save(file, Path.cwd())}\n")
        except OSError as error:
            self._print(f"! 파일을 쓰지 못했어요: {error}\n")

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        """Print a message, or the beginning of one."""
        self._check(key, message)
        id_ = f"{self._run_id}-b{next(self._ids)}"
        prefix = "" if self._settings.once else f"{message.speaker or '봇'}> "
        self._print(prefix + message.text)
        self._shown = {id_: message.text}  # only the newest can still grow
        self._finish(message)
        return id_

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        """Print what was added; a text that changed is printed anew."""
        self._check(key, message)
        before = self._shown.get(message_id)
        if before is None:
            raise Gone(f"no message {message_id} on the screen")
        if message.text.startswith(before):
            self._print(message.text[len(before) :])
        else:
            self._print(f"\n{message.speaker or '봇'} (고침)> {message.text}")
        self._shown[message_id] = message.text
        self._finish(message)

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        """Do nothing: what is printed stays, as the capabilities say."""

    async def typing(self, key: ChannelKey) -> None:
        """Do nothing: the answer appears on the line that waits for it."""

    def _check(self, key: ChannelKey, message: Outgoing) -> None:
        if key != self._key:
            raise Gone(f"no room {key.channel}: this terminal is in {self._key.channel}")
        if not message.text or len(message.text) > MAX_LENGTH:
            raise Malformed(f"a message has 1 to {MAX_LENGTH} characters")

    def _finish(self, message: Outgoing) -> None:
        if message.final:
            self._print("\n")
            if message.speaker:  # what nobody says in the persona's name is a notice beside it
                self._answered.set()

    def _print(self, text: str) -> None:
        # A generated control character must not steer the terminal.
        self._output.write(
            "".join(c for c in text if c in "\n\t" or c.isprintable() or ord(c) > 159)
        )
        self._output.flush()
