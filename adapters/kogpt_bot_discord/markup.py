r"""Plain text as Discord's markup: what people see is what was written.

Discord shows `\x` as `x` for every character that is no letter, digit or white space, and takes it
for no markup. Mentions need a bare `<` or `@`: an escaped one is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_LENGTH = 2000  # characters of one message, escapes among them

# Where a character would mean something to Discord; each match is one character, or a link. A
# link with a mark in it is none any more: Discord would show the escapes.
_MEANING = re.compile(
    r"(?P<link>(?:https?|steam)://(?:(?![\\*~`|<>@\[\]])\S)+(?=\s|\Z))"
    r"|[\\*_~`|<>@\[\]]"
    r"|:(?=//)"
    r"|:(?=[\w+~-]+:)"  # :smile: would become a picture
    r"|(?m:^)(?P<lead>[^\S\n]*)(?P<item>[#-]|\d{1,9}\.)",  # titles and lists begin a line
    re.IGNORECASE,
)
_SURROGATES = re.compile("[\ud800-\udfff]")  # half a character: JSON cannot carry it
_LOOK_ALIKES = str.maketrans(
    {
        "\\": "＼", "*": "∗", "_": "＿", "~": "∼", "`": "ˋ", "|": "∣", "<": "‹", ">": "›",
        "@": "＠", "[": "［", "]": "］", ":": "：", "#": "＃", "-": "‐", ".": "․",
    }
)  # fmt: skip


def escape(text: str) -> str:
    """Return `text` so that Discord shows it as it stands, in at most MAX_LENGTH characters.

    A link stays a link where nothing in it could be markup. Where a text that is nearly
    MAX_LENGTH long has so many marks that the escapes do not fit, the marks are replaced by
    signs that look alike and mean nothing. `text` is at most MAX_LENGTH long.
    """
    text = _SURROGATES.sub("\ufffd", text)
    escaped = _each(text, lambda sign: f"\\{sign}")
    return escaped if len(escaped) <= MAX_LENGTH else _each(text, _look_alike)


def _look_alike(sign: str) -> str:
    return sign.translate(_LOOK_ALIKES)


def _each(text: str, disarm: Callable[[str], str]) -> str:
    """Return `text` with every character that means something disarmed."""

    def replace(found: re.Match[str]) -> str:
        if found["link"]:
            return found[0]
        if item := found["item"]:
            return f"{found['lead']}{item[:-1]}{disarm(item[-1])}"
        return disarm(found[0])

    return _MEANING.sub(replace, text)
