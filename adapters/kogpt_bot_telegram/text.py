"""Text on its way out: nothing in it pings anybody or acts, and it fits into a message."""

from __future__ import annotations

import re

MAX_LENGTH = 4096  # UTF-16 units of one message
WORD_JOINER = "\u2060"  # no width, no break, no word character: the server sees no name after it

# Telegram finds @names and /commands in any text, and no parameter turns that off: `entities` and
# `parse_mode` only add to what is found. A name is found after an @ that Latin letters, digits or
# _ follow; a command after a / that stands at a word's beginning and is no part of a path or URL.
_MENTION = re.compile(r"@(?=\w)")
_COMMAND = re.compile(r"(?<![\w/<>])/(?=[A-Za-z0-9_])")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def shield(text: str, *, commands: bool = True) -> str:
    """Return `text` as it looks, with an invisible joiner in each name and command.

    Where there is no room for the joiners, the signs themselves are written in full width, which
    takes no room and is no sign to Telegram either. `commands=False` leaves commands as they are,
    to be tapped: for what is not generated.
    """
    text = _SURROGATE.sub("\ufffd", text)  # half a character cannot be sent
    shielded = _MENTION.sub(f"@{WORD_JOINER}", text)
    if commands:
        shielded = _COMMAND.sub(f"/{WORD_JOINER}", shielded)
    if utf16_length(shielded) <= MAX_LENGTH:
        return shielded
    text = _MENTION.sub("\uff20", text)
    return _COMMAND.sub("\uff0f", text) if commands else text


def utf16_length(text: str) -> int:
    """Return the length as Telegram counts it."""
    return len(text) + sum(char > "\uffff" for char in text)


def clip(text: str, limit: int = MAX_LENGTH) -> str:
    """Return `text` cut to `limit` UTF-16 units, with an ellipsis where it was longer."""
    if utf16_length(text) <= limit:
        return text
    kept, used = [], 1
    for char in text:
        used += 2 if char > "\uffff" else 1
        if used > limit:
            break
        kept.append(char)
    return "".join(kept) + "…"
