"""The values of the profanity log: what its rows mean to the rest of the program."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kogpt_bot.store.values import JsonValue

EVERYWHERE = ""  # the scope of what is allowed in every channel


class Direction(enum.StrEnum):
    """Whose text it is."""

    ANSWER = "answer"  # the model's
    INCOMING = "incoming"  # what somebody wrote
    NAME = "name"  # what somebody is called


class Outcome(enum.StrEnum):
    """What people saw of the text."""

    SHOWN = "shown"
    MASKED = "masked"
    REGENERATED = "regenerated"  # another answer was written
    FALLBACK = "fallback"  # a line of the persona's was shown
    BLOCKED = "blocked"  # a notice was shown
    IGNORED = "ignored"  # a message that was not answered
    WARNED = "warned"  # a message that was answered, and its writer asked for other words


class Verdict(enum.StrEnum):
    """What a review says of a hit."""

    RIGHT = "right"
    FALSE_ALARM = "false alarm"


@dataclass(frozen=True, slots=True)
class HitText:
    """A text in which something was found; the fields are explained in `tables.py`."""

    at: datetime
    channel: str
    direction: Direction
    policy: str
    outcome: Outcome
    digest: str
    text: str
    kept: str
    message: str = ""
    person: str = ""
    people: str = ""
    prompt: str = ""
    generated: str = ""
    model: str = ""
    revision: str = ""
    seed: int | None = None
    sampling: Mapping[str, JsonValue] | None = None
    request: Mapping[str, JsonValue] | None = None
    complete: bool = True
    id: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and where in the text."""

    span_start: int
    span_end: int
    matched: str
    word: str
    canonical: str
    category: str
    severity: int
    rule: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One row of the log, with the text that it was found in and its newest review."""

    id: int
    found: Finding
    text: HitText
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """A phrase that is no profanity: everywhere, or in one channel."""

    scope: str
    phrase: str


@dataclass(frozen=True, slots=True)
class HitFilter:
    """Which hits are asked for; what is not given does not matter."""

    since: datetime | None = None
    until: datetime | None = None
    channel: str = ""  # a key, or the beginning of one: an adapter, a server
    direction: str = ""
    category: str = ""
    min_severity: int = 1
    verdict: str = ""  # right, false alarm, none
    after: int = 0  # only hits with a larger id
    newest_first: bool = True
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class HitPoint:
    """What is counted of a hit; many of them are read at once."""

    at: datetime
    channel: str
    direction: str
    outcome: str
    category: str
    severity: int
    verdict: str
