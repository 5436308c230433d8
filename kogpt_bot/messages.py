"""The values that cross the adapter port: what people said, what the bot says, and where."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, order=True)
class ChannelKey:
    """The address of one conversation: adapter, server (guild), channel and thread.

    `guild` is "" outside of servers (direct messages, private chats, rooms), `thread` is ""
    outside of threads and topics. Parts are the platform's own ids as strings.
    """

    adapter: str
    channel: str
    guild: str = ""
    thread: str = ""

    def __post_init__(self) -> None:
        if not self.adapter or not self.channel:
            raise ValueError("a channel key needs an adapter and a channel")

    def __str__(self) -> str:
        return "/".join(
            "%2D" if part == "-" else part.replace("%", "%25").replace("/", "%2F") or "-"
            for part in (self.adapter, self.guild, self.channel, self.thread)
        )

    @classmethod
    def parse(cls, text: str) -> ChannelKey:
        """Return the key that `str()` wrote; ValueError for any other text."""
        parts = [
            "" if part == "-" else part.replace("%2F", "/").replace("%2D", "-").replace("%25", "%")
            for part in text.split("/")
        ]
        if len(parts) != 4:
            raise ValueError(f"not a channel key: {text!r}; expected adapter/guild/channel/thread")
        adapter, guild, channel, thread = parts
        return cls(adapter, channel, guild, thread)


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a message: the platform's id and the name that others see."""

    id: str
    name: str
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message that somebody wrote, as an adapter hands it to the inbox.

    `message_id` is unique within the adapter and channel: a second delivery of the same id is
    ignored. `sent_at` is the platform's time, with a time zone. `text` is plain text as people
    see it: mentions written as names, an attachment as a short description (`[사진]`).
    """

    key: ChannelKey
    message_id: str
    author: Author
    text: str
    sent_at: datetime
    direct: bool = False  # only the author and the bot can read this channel
    mentions_bot: bool = False
    replies_to_bot: bool = False
    reply_to: str = ""  # the message id that it answers

    def __post_init__(self) -> None:
        if self.sent_at.tzinfo is None:
            raise ValueError("sent_at needs a time zone")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message that the bot sends: at most the adapter's maximum length, never empty.

    `nonce` is the same when the same message is sent again; adapters whose capabilities say
    `idempotent_send` pass it on, so that a repeated send shows once. `final` is False while the
    answer is still being written and edits will follow. `speaker` is the persona's name, for
    platforms that can show one. `offers` are the actions that people may take from under the
    message, for platforms with buttons; an edit replaces them. `subject` is what these actions
    are about where that is not the message itself: a finding of the profanity log, say.
    """

    text: str
    reply_to: str = ""
    nonce: str = ""
    final: bool = True
    speaker: str = ""
    offers: tuple[ActionKind, ...] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class PastMessage:
    """One message of a channel's history, as somebody who opens the channel is shown it."""

    message_id: str
    author: Author
    text: str
    sent_at: datetime
    by_this_bot: bool = False
    offers: tuple[ActionKind, ...] = ()  # as in `Outgoing`


class ActionKind(enum.StrEnum):
    """What people can ask of the bot besides talking to it."""

    STOP = "stop"  # end the answer that is being written
    REGENERATE = "regenerate"  # write the last answer anew, or the one that `message_id` names
    CLEAR = "clear"  # forget this channel's conversation (managers, or a direct chat's owner)
    ANSWER = "answer"  # answer the message `message_id`, whether or not it called the bot
    DELETE = "delete"  # take back the answer `message_id` (who asked for it, or a manager)
    GOOD = "good"  # the answer `message_id` is a good one
    BAD = "bad"  # ... or not
    REPORT = "report"  # the answer `message_id` is abnormal; `value` may say why
    SETTINGS = "settings"  # list what applies here
    SET = "set"  # set `name` to `value` at `level` (managers)
    RESET = "reset"  # take back what was set for `name` at `level`; no name: all (managers)
    PERSONA = "persona"  # say who the bot is here; with `value`, choose a persona (managers)
    FORGET = "forget"  # erase what this person said in this channel
    OPT_OUT = "opt_out"  # erase all that this person said, and remember nothing from now on
    OPT_IN = "opt_in"
    EXPORT = "export"  # give this person everything that is stored about them, as a file
    STATUS = "status"  # place in the queue, model, speed
    HELP = "help"
    HIT_RIGHT = "hit_right"  # the finding `subject` of the profanity log is right (managers)
    HIT_WRONG = "hit_wrong"  # ... or a false alarm (managers)


class ScopeLevel(enum.StrEnum):
    """How far a setting made by a command reaches."""

    PLATFORM = "platform"  # the bot's owner only
    SERVER = "server"
    CHANNEL = "channel"
    THREAD = "thread"


@dataclass(frozen=True, slots=True)
class Action:
    """A wish that is not a message: a button, a command.

    `manager`: the platform said, at this moment, that the person may manage the channel (for
    `ScopeLevel.SERVER`: the server). The core refuses what needs it and has it not.
    """

    kind: ActionKind
    key: ChannelKey
    author: Author
    at: datetime
    message_id: str = ""  # the platform's id of the message that it is about
    subject: str = ""  # as in `Outgoing`
    name: str = ""  # a setting's dotted key
    value: str = ""  # as the person typed or chose it
    level: ScopeLevel = ScopeLevel.CHANNEL
    manager: bool = False
    direct: bool = False  # as in `Incoming`
    language: str = ""  # ko or en, where the person chose one: of the result, which they alone see


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting as people are shown it."""

    name: str  # the dotted key
    value: str  # what applies
    source: str  # where it comes from, in words
    allowed: str  # what may be set, in words
    choices: tuple[str, ...] = ()  # all that may be set, where these are few


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file for one person."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What came of an action, in words that the person may be shown (and nobody else)."""

    done: bool
    text: str
    settings: tuple[SettingView, ...] = ()
    attachment: Attachment | None = None
