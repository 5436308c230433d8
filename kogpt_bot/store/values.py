"""The store's values: what the rows mean to the rest of the program."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from kogpt_bot.messages import Author, ChannelKey

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class TurnState(enum.StrEnum):
    """How far the answer to a message has come; every turn ends in one of the last five.

    A message that was received and that nobody has to answer has no turn.
    """

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
    """That a message shall be answered, why, and how urgently (higher is sooner).

    With `refused`, that it will not be, and why: the turn is recorded as refused at once.
    `joins` is an earlier turn of the same speaker's burst: where nothing of its answer was sent
    yet, it is closed, and the new turn answers both.
    """

    reason: str
    priority: int = 0
    refused: str | None = None
    joins: int | None = None


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
    answer_parts: int | None = None  # how many platform messages the answer has, once it is whole
    joined: int | None = None  # the earlier turn that was closed because this one answers both
    ours: bool = True  # False: the channel is another process's, which answers it

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


class PartState(enum.StrEnum):
    """What is known of one platform message of an answer."""

    PLANNED = "planned"  # it was surely not sent yet
    PENDING = "pending"  # it is being sent, or was when the program ended
    SHOWN = "shown"  # the platform has named it
    UNKNOWN = "unknown"  # interrupted, and not repeated: it may or may not have been shown
    UNSENT = "unsent"  # it was not shown and will not be


@dataclass(frozen=True, slots=True)
class OutboxPart:
    """One platform message of an answer, recorded before it was sent."""

    id: int
    number: int  # its place in the answer, from 0
    text: str  # as it was first sent; as it shall be, once the answer is whole
    state: PartState
    platform_id: str  # "" while it is not known
    recorded_at: datetime  # when it was said of it that it is being sent

    @property
    def nonce(self) -> str:
        """The key that makes a repeated send show once; another database has other ones."""
        return f"{self.id}-{int(self.recorded_at.timestamp()):x}"


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One row of the settings' audit; None means not set."""

    at: datetime
    scope: str
    key: str
    old: JsonValue
    new: JsonValue
    changed_by: str
