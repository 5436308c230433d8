"""Names for the people of a channel, so that no two of them, and nobody and the bot, are alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from kogpt_bot.conversation.transcript import MAX_NAME_CHARS, cut, speaker_name


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the history: who, under which name, what."""

    author_id: str
    name: str
    text: str
    by_this_bot: bool = False


def distinct_names(lines: Iterable[Line], bot_name: str) -> dict[str, str]:
    """Return author id -> the name that stands in the transcript.

    The first to use a name keeps it, the next becomes `민수 2`. Names that only look alike
    (full width, case, hidden characters) count as the same; the bot's is its own.
    """
    taken = {_shape(speaker_name(bot_name))}
    names: dict[str, str] = {}
    for line in lines:
        if line.by_this_bot or line.author_id in names:
            continue
        wanted = speaker_name(line.name)
        name, number = wanted, 1
        while _shape(name) in taken:
            number += 1
            suffix = f" {number}"
            name = cut(wanted, MAX_NAME_CHARS - len(suffix)).rstrip() + suffix
        taken.add(_shape(name))
        names[line.author_id] = name
    return names


def _shape(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(
        c for c in unicodedata.normalize("NFKD", folded) if c.isalnum() or ord(c) > 0x1F000
    )
