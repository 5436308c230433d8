"""What people see of a message's content: Discord's markup, carried out.

Written from Discord's documentation of its formatting, and apart from the adapter's escaping:
markup that takes effect changes the text here, so that a test sees it.
"""

from __future__ import annotations

import re

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\([^0-9A-Za-z\s])", re.S), "escape"),
    (re.compile(r"(?:https?|steam)://[^\s<]+[^<.,:;\"'\]\s]"), "link"),
    (re.compile(r"<(@!?|@&|#)\d+>"), "mention"),
    (re.compile(r"@(everyone|here)"), "mention"),
    (re.compile(r"<a?:\w+:\d+>|:[\w+~-]+:"), "emoji"),
    (re.compile(r"<t:-?\d+(?::\w)?>|</[^>]+:\d+>|<id:\w+>|<https?://[^\s>]+>"), "special"),
    (re.compile(r"```.+?```", re.S), "code"),
    (re.compile(r"(`+)(.+?)(?<!`)\1(?!`)", re.S), "code"),
    (re.compile(r"\[[^\]\n]+\]\((?:<[^>]*>|[^)\s]+)\)"), "masked link"),
    (re.compile(r"\|\|.+?\|\|", re.S), "spoiler"),
    (re.compile(r"\*\*.+?\*\*(?!\*)", re.S), "bold"),
    (re.compile(r"__.+?__(?!_)", re.S), "underlined"),
    (re.compile(r"~~.+?~~", re.S), "struck"),
    (re.compile(r"\*(?=\S).+?(?<=\S)\*(?!\*)", re.S), "italic"),
    (re.compile(r"_(?=\S).+?(?<=\S)_(?![_0-9A-Za-z])", re.S), "italic"),
)
_LINE = re.compile(r"(?:#{1,3} |-# |>(?:>>)? |[^\S\n]*[*-] |[^\S\n]*\d+\. )")


def effects(content: str) -> list[str]:
    """Return the markup that takes effect in a content, links left out."""
    return _render(content)[1]


def render(content: str) -> str:
    """Return what is seen; markup that takes effect shows as «kind»."""
    return _render(content)[0]


def _render(content: str) -> tuple[str, list[str]]:
    seen: list[str] = []
    found: list[str] = []
    at = 0
    while at < len(content):
        if (at == 0 or content[at - 1] == "\n") and (line := _LINE.match(content, at)):
            found.append("line")
            seen.append("«line»")
            at = line.end()
            continue
        kind, match = _effect(content, at)
        if match is None:
            seen.append(content[at])
            at += 1
            continue
        if kind == "escape":
            seen.append(match[1])
        elif kind == "link":
            seen.append(match[0])
        else:
            found.append(kind)
            seen.append(f"«{kind}»")
        at = match.end()
    return "".join(seen), found


def _effect(content: str, at: int) -> tuple[str, re.Match[str] | None]:
    for rule, kind in _RULES:
        if match := rule.match(content, at):
            return kind, match
    return "", None
