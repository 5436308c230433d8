"""The adapter port: what a platform's adapter implements, and what it may call.

An adapter translates; it decides nothing. When to answer, how fast to edit, where to split and
what to retry is policy, and lives in the core. `docs/adapters.md` shows how to write one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from kogpt_bot.messages import Action, ActionResult, ChannelKey, Incoming, Outgoing, PastMessage


class LengthUnit(enum.StrEnum):
    """What a platform counts when it limits the length of a message."""

    CODE_POINTS = "code points"  # Discord
    UTF16_UNITS = "UTF-16 units"  # Telegram


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a platform can do; the core's policy is chosen by it."""

    max_length: int  # of one message, in `length_unit`
    length_unit: LengthUnit = LengthUnit.CODE_POINTS
    edits: bool = False  # a sent message can be edited, so an answer can be streamed
    min_edit_interval_s: float = 1.0  # between two edits of one message
    deletes: bool = False
    typing: bool = False
    typing_lasts_s: float = 5.0  # the sign goes away by itself after this long
    native_drafts: bool = False
    buttons: bool = False
    threads: bool = False
    idempotent_send: bool = False  # a nonce makes a repeated send show once


class Inbox(Protocol):
    """The core's side of the port: where an adapter delivers what it hears.

    The calls are safe from concurrent tasks of the event loop that `run` was awaited on.
    """

    async def accept(self, message: Incoming) -> bool:
        """Store `message`; once this returns, the adapter may acknowledge it to the platform.

        Returns whether an answer is owed: then a final message follows in the channel, unless
        somebody stops it. A message id that was seen before is ignored. Raises `StoreError` when
        it could not be stored: do not acknowledge it then. Raises `Refused` when the person
        should be told that the message was not taken (too long, too many waiting).
        """
        ...

    async def act(self, action: Action) -> ActionResult:
        """Carry out `action` and say what came of it."""
        ...

    async def amend(self, message: Incoming) -> None:
        """Replace the text of a message that its author edited; nothing is answered anew.

        A message that is not known is ignored.
        """
        ...

    async def withdraw(self, key: ChannelKey, message_id: str) -> None:
        """Forget a message that was deleted on the platform, whoever wrote it."""
        ...

    async def history(self, key: ChannelKey, limit: int) -> Sequence[PastMessage]:
        """Return the channel's last `limit` messages since it was cleared, oldest first."""
        ...

    async def newest(self, adapter: str, since: datetime) -> Mapping[ChannelKey, str]:
        """Return the id of the last message heard in each channel where there was one `since`.

        For fetching what was missed while the bot was away.
        """
        ...


class Adapter(Protocol):
    """One platform. Made by its plug-in's `create`, run and stopped by the core.

    All methods run on one event loop. `send`, `edit`, `delete` and `typing` raise the
    subclasses of `AdapterError` and nothing else; they make one attempt and never sleep out a
    rate limit (they raise `RetryAfter`).
    """

    @property
    def name(self) -> str:
        """The name in the configuration and in channel keys."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the platform can do; the same value for as long as the adapter lives."""
        ...

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        """What it can do in one channel: `capabilities` where channels do not differ."""
        ...

    async def run(self, inbox: Inbox) -> None:
        """Connect and deliver messages until `stop`; returns after it, raises when it cannot go on.

        Cancelling it stops at once.
        """
        ...

    async def stop(self) -> None:
        """End the intake and let `run` return; safe to call twice and before `run`."""
        ...

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        """Show `message` in the channel and return its platform message id.

        It pings nobody and no markup in it takes effect.
        """
        ...

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        """Replace the text of a message of the bot's own; `final` says whether more will come."""
        ...

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        """Remove a message of the bot's own; one that is already gone is fine."""
        ...

    async def typing(self, key: ChannelKey) -> None:
        """Show once that the bot is writing."""
        ...


@runtime_checkable
class Drafting(Protocol):
    """What an adapter has besides, where `capabilities_in` says `native_drafts`."""

    async def draft(self, key: ChannelKey, draft_id: int, message: Outgoing) -> None:
        """Show the text so far of an answer that will be sent when it is done.

        A draft leaves nothing behind: it is no sent message, and goes away by itself. All
        drafts of one answer have the same `draft_id` (31 bits, never 0).
        """
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """How an adapter's link to its platform is: for the operator, decides nothing."""

    up: bool
    detail: str = ""  # why it is not, in a few words
    reconnects: int = 0  # since the adapter was made


@runtime_checkable
class Reporting(Protocol):
    """What an adapter has besides, when it keeps a link to its platform alive by itself."""

    def connection(self) -> Connection:
        """Return how the link is now; quick, and never an error."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What an adapter has found about its own configuration, for `kogpt-bot doctor`.

    Without a `remedy` all is well; `serious` says whether it keeps the adapter from running.
    """

    name: str
    finding: str
    remedy: str = ""
    serious: bool = True


@dataclass(frozen=True, slots=True)
class AdapterPlugin:
    """What an entry point of the group `kogpt_bot.adapters` names.

    `settings` is a class that pydantic can validate (a frozen dataclass or a model); the section
    `adapters.<name>` of the configuration is parsed into it. `create` gets that value and must
    not connect to anything yet. `diagnose` gets it too, and whether it may ask the platform: then
    it does, within seconds, and raises nothing. `enabled_by_default`: whether it runs without a
    configuration section of its own. `extra` is the pip extra that brings what it needs, for error
    messages.
    """

    name: str
    settings: type[Any]
    create: Callable[[Any], Adapter]
    enabled_by_default: bool = False
    extra: str = ""
    diagnose: Callable[[Any, bool], Sequence[Finding]] | None = None
