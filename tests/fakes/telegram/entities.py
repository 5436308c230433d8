"""What Telegram's server finds in a plain text, as TDLib's MessageEntity.cpp does it."""

from __future__ import annotations

import re

# A name: @ and 2 to 32 Latin letters, digits or _, no word character before or after.
MENTION = re.compile(r"(?<!\w)@([A-Za-z0-9_]{2,32})(?!\w)")
COMMAND = re.compile(r"(?<![\w/<>])/([A-Za-z0-9_]{1,64})(@[A-Za-z0-9_]{3,32})?(?!\w)")
URL = re.compile(r"https?://\S+")


def utf16(text: str) -> int:
    """Return the length of a text in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def find_entities(text: str) -> list[dict[str, object]]:
    """Return the entities of a text, in their order."""
    found = [
        (match, kind)
        for kind, pattern in (("url", URL), ("mention", MENTION), ("bot_command", COMMAND))
        for match in pattern.finditer(text)
    ]
    taken: list[range] = []
    entities = []
    for match, kind in found:
        if any(match.start() in each or match.end() - 1 in each for each in taken):
            continue
        taken.append(range(match.start(), match.end()))
        entities.append(
            {
                "type": kind,
                "offset": utf16(text[: match.start()]),
                "length": utf16(match.group()),
            }
        )
    return sorted(entities, key=lambda each: each["offset"])
