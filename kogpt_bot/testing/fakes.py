"""A platform without a network, and an inbox that only writes down what it hears."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from kogpt_bot.adapter import Capabilities, Inbox
from kogpt_bot.errors import Forbidden, Gone, Malformed, Refused
from kogpt_bot.messages import (
    Action,
    ActionKind,
    ActionResult,
    Author,
    ChannelKey,
    Incoming,
    Outgoing,
    PastMessage,
)

PERSON = Author("u1", "민수")  # who speaks where nobody else is named


class RecordingInbox:
    """An `Inbox` that keeps every message; `failures` are raised first, one a message."""

    def __init__(self) -> None:
        self.messages: list[Incoming] = []
        self.actions: list[Action] = []
        self.amended: list[Incoming] = []
        self.withdrawn: list[tuple[ChannelKey, str]] = []
        self.past: list[PastMessage] = []
        self.heard: dict[ChannelKey, str] = {}
        self.failures: list[Exception] = []
        self.result = ActionResult(True, "됐어요.")  # of every action
        self._arrived = asyncio.Condition()

    async def accept(self, message: Incoming) -> bool:
        """Keep the message, unless a failure is due; nothing answers it."""
        if self.failures:
            raise self.failures.pop(0)
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
        return False

    async def act(self, action: Action) -> ActionResult:
        """Keep the action, and give `result`."""
        self.actions.append(action)
        return self.result

    async def amend(self, message: Incoming) -> None:
        """Keep the edited message."""
        self.amended.append(message)

    async def withdraw(self, key: ChannelKey, message_id: str) -> None:
        """Keep what was deleted."""
        self.withdrawn.append((key, message_id))

    async def history(self, key: ChannelKey, limit: int) -> Sequence[PastMessage]:
        """Return `past`."""
        return self.past[-limit:]

    async def newest(self, adapter: str, since: datetime) -> Mapping[ChannelKey, str]:
        """Return `heard`, whatever the time."""
        return {key: id_ for key, id_ in self.heard.items() if key.adapter == adapter}

    async def wait_for(self, count: int, timeout_s: float = 5.0) -> list[Incoming]:
        """Return the messages once there are `count`; TimeoutError when there are not."""
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= count)
        return self.messages


class FakeAdapter:
    """A platform in memory: `say` is a person, `shown` is what people see."""

    name = "fake"

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.capabilities = capabilities or Capabilities(
            max_length=2000,
            edits=True,
            min_edit_interval_s=0.01,
            deletes=True,
            typing=True,
            buttons=True,
            idempotent_send=True,
        )
        self.shown: dict[ChannelKey, dict[str, Outgoing]] = {}
        self.typed: list[ChannelKey] = []
        self.refusals: list[tuple[ChannelKey, str]] = []
        self.forbidden: set[ChannelKey] = set()
        self._ids = itertools.count(1)
        self._nonces: dict[tuple[ChannelKey, str], str] = {}
        self._inbox: Inbox | None = None
        self._running = asyncio.Event()
        self._stopped = asyncio.Event()
        self._changed = asyncio.Condition()

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        """Return `capabilities`: all channels are alike."""
        return self.capabilities

    async def run(self, inbox: Inbox) -> None:
        """Take messages until `stop`."""
        self._inbox = inbox
        self._running.set()
        try:
            await self._stopped.wait()
        finally:
            self._inbox = None

    async def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    async def say(
        self,
        text: str,
        *,
        channel: str = "room",
        author: Author | None = None,
        direct: bool = True,
        message_id: str = "",
        mentions_bot: bool = False,
    ) -> str:
        """Let a person write; returns the message's id. A refusal is kept in `refusals`."""
        await asyncio.wait_for(self._running.wait(), 5)
        if self._inbox is None:
            raise RuntimeError("the adapter does not run")
        key = ChannelKey(self.name, channel)
        self.shown.setdefault(key, {})
        id_ = message_id or f"p{next(self._ids)}"
        message = Incoming(
            key,
            id_,
            author or PERSON,
            text,
            datetime.now(UTC),
            direct=direct,
            mentions_bot=mentions_bot,
        )
        try:
            await self._inbox.accept(message)
        except Refused as refusal:
            self.refusals.append((key, refusal.text))
        return id_

    async def press(
        self, message_id: str, kind: ActionKind, *, channel: str = "room", author: Author = PERSON
    ) -> ActionResult:
        """Let a person press a button under a message; LookupError where it is not offered."""
        key = ChannelKey(self.name, channel)
        message = self.shown.get(key, {}).get(message_id)
        if message is None or kind not in message.offers:
            raise LookupError(f"no button {kind} under {message_id}")
        if self._inbox is None:
            raise RuntimeError("the adapter does not run")
        now = datetime.now(UTC)
        action = Action(
            kind, key, author, now, message_id=message_id, subject=message.subject, direct=True
        )
        return await self._inbox.act(action)

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        """Show a message; one with a known nonce is not shown again."""
        channel = self._channel(key)
        self._check(message)
        nonce = (key, message.nonce)
        if message.nonce and nonce in self._nonces:
            return self._nonces[nonce]
        id_ = f"b{next(self._ids)}"
        await self._set(channel, id_, message)
        if message.nonce:
            self._nonces[nonce] = id_
        return id_

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        """Change a message."""
        channel = self._channel(key)
        self._check(message)
        if message_id not in channel:
            raise Gone(f"no message {message_id}")
        await self._set(channel, message_id, message)

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        """Remove a message, if it is there."""
        self._channel(key).pop(message_id, None)

    async def typing(self, key: ChannelKey) -> None:
        """Write down that the bot was seen typing."""
        self._channel(key)
        self.typed.append(key)

    async def wait_for_final(self, count: int = 1, *, channel: str = "room") -> list[str]:
        """Return the texts of the bot's finished messages once there are `count`."""
        key = ChannelKey(self.name, channel)

        def finished() -> list[str]:
            return [m.text for m in self.shown.get(key, {}).values() if m.final]

        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(finished()) >= count)
        return finished()

    async def _set(self, channel: dict[str, Outgoing], id_: str, message: Outgoing) -> None:
        async with self._changed:
            channel[id_] = message
            self._changed.notify_all()

    def _channel(self, key: ChannelKey) -> dict[str, Outgoing]:
        if key in self.forbidden:
            raise Forbidden(f"no access to {key}")
        if key not in self.shown:
            raise Gone(f"no channel {key}")
        return self.shown[key]

    def _check(self, message: Outgoing) -> None:
        if not message.text or len(message.text) > self.capabilities.max_length:
            raise Malformed(f"a message has 1 to {self.capabilities.max_length} characters")
