"""The store's values: what the rows mean to the rest of the program."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from kogpt_bot.messages import Author, ChannelKey

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class TurnState(enum.StrEnum):
    """How far the answer to a message has come; every turn ends in one of the last five."""

    WAITING = "waiting"
    GENERATING = "generating"
    SENDING = "sending"
    REPLIED = "replied"
    REFUSED = "refused"  # the platform or a rule forbids the answer; it would again
    EXPIRED = "expired"  # nobody waits for it any more: too late, or stopped by a person
    DEAD = "dead"  # given up after too many attempts
    UNKNOWN = "unknown"  # interrupted while sending: it may or may not have been shown

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the turn."""
        return self not in (TurnState.WAITING, TurnState.GENERATING, TurnState.SENDING)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a channel; `id` grows in the order in which messages were recorded."""

    id: int
    key: ChannelKey
    platform_id: str
    author: Author
    by_this_bot: bool
    text: str
    reply_to: str
    sent_at: datetime
    parts: tuple[tuple[str, str], ...] = ()  # (platform id, text) of each shown part

    @property
    def platform_ids(self) -> tuple[str, ...]:
        """The ids under which the platform shows it, one or more."""
        return tuple(id_ for id_, _ in self.parts) or (self.platform_id,)


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """That a message shall be answered, why, and how urgently (higher is sooner)."""

    reason: str
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer that is owed: the message, and how far the answer has come."""

    id: int
    message: StoredMessage
    state: TurnState
    reason: str
    priority: int
    attempts: int
    created_at: datetime
    reply_id: int | None = None

    @property
    def key(self) -> ChannelKey:
        """The channel of the message."""
        return self.message.key


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was shown: its platform messages in order, and who spoke."""

    parts: tuple[tuple[str, str], ...]  # (platform id, text)
    author: Author
    text: str


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One row of the settings' audit; None means not set."""

    at: datetime
    scope: str
    key: str
    old: JsonValue
    new: JsonValue
    changed_by: str
