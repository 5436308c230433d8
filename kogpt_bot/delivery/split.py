"""Cutting a long answer into messages: at a paragraph, a sentence, an eojeol, never in a grapheme.

Code fences that a cut would leave open are closed and opened again in the next message.
"""

from __future__ import annotations

import regex

from kogpt_bot.adapter import LengthUnit

_PARAGRAPH = regex.compile(r"\n+")
_SENTENCE = regex.compile(r"""[.!?…。！？][.!?…~)\]"'”’」』]*\s+""")
_EOJEOL = regex.compile(r"\s+")
_GRAPHEME = regex.compile(r"\X")
_FENCE = regex.compile(r"^```([^\n`]*)$", regex.MULTILINE)
_FENCE_END = "\n```"


def length(text: str, unit: LengthUnit) -> int:
    """Return the length of `text` as the platform counts it."""
    if unit is LengthUnit.UTF16_UNITS:
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    return len(text)


def split(text: str, limit: int, unit: LengthUnit) -> list[str]:
    """Return `text` as messages of at most `limit` units each; none is empty."""
    parts = []
    rest = text.strip()
    while rest:
        head, rest = split_once(rest, limit, unit)
        parts.append(head)
    return parts


def split_once(text: str, limit: int, unit: LengthUnit) -> tuple[str, str]:
    """Return the first message of `text` and what remains ("" when all of it fits).

    The first message does not change when more text is appended to `text`, so it can be sent
    while the answer is still being written. `limit` is at least 16 units.
    """
    if length(text, unit) <= limit:
        return text, ""
    window = _prefix(text, limit, unit)
    cut = _cut(window, text)
    language = _open_fence(text[:cut])
    if language is None:
        return text[:cut].rstrip(), text[cut:].lstrip()
    # Room for the closing fence; an info string too long to repeat is left out.
    window = _prefix(text, limit - len(_FENCE_END), unit)
    cut = _cut(window, text)
    language = _open_fence(text[:cut])
    if language is None:
        return text[:cut].rstrip(), text[cut:].lstrip()
    opening = f"```{language}\n" if len(language) <= limit // 4 else "```\n"
    body = text[:cut].rstrip()
    rest = text[cut:].lstrip("\n")
    if rest.startswith("```"):  # the fence closes right here: nothing to reopen
        after = rest[3:].lstrip()
        return body + _FENCE_END, after
    return body + _FENCE_END, opening + rest


def _prefix(text: str, limit: int, unit: LengthUnit) -> int:
    """Return how many characters of `text` fit into `limit` units."""
    if unit is LengthUnit.CODE_POINTS:
        return min(limit, len(text))
    used = 0
    for index, char in enumerate(text):
        used += 2 if ord(char) > 0xFFFF else 1
        if used > limit:
            return index
    return len(text)


def _cut(window: int, text: str) -> int:
    """Return where to cut: at most `window`, and in its second half where that can be had."""
    for boundary in (_PARAGRAPH, _SENTENCE, _EOJEOL):
        # The white space itself may hang over the window: it is not sent.
        ends = [
            m.end()
            for m in boundary.finditer(text, window // 3, min(len(text), window + 1))
            if m.end() > window // 2 and len(text[: m.end()].rstrip()) <= window
        ]
        if ends:
            return int(ends[-1])
    start = max(0, window - 64)  # a grapheme of more than 64 characters is cut: it is zalgo
    last = window
    for match in _GRAPHEME.finditer(text, start):
        if match.end() > window:
            last = match.start()
            break
    return last if last > start else window


def _open_fence(text: str) -> str | None:
    """Return the info string of the code fence that `text` leaves open, if it does."""
    fences = _FENCE.findall(text)
    return str(fences[-1]).strip() if len(fences) % 2 else None
