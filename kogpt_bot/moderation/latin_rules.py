"""Finds Latin-letter profanity (English, romanised Korean) and Korean typed in Latin keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

from kogpt_bot.moderation.hangul import from_keys, is_syllable
from kogpt_bot.moderation.lexicon import LatinRule

_LEET = {
    "a": "a@4", "b": "b8", "e": "e3", "g": "g9", "i": "i1!|", "l": "l1|", "o": "o0",
    "s": "s$5", "t": "t7+", "u": "uv4", "k": "kq", "z": "z2", "*": "*#@",
}  # fmt: skip
_MASK = "*#@%x"  # stands for one letter inside a word
_BREAK = r"[.\-_,~'`·]{0,2}+"  # between two letters
_SPACE = " {0,2}+"
_PARTS = re.compile(r"\(([^)]*)\)|( )|([a-z*]+)")
KEYED = re.compile(r"(?<![A-Za-z])[A-Za-z]{4,24}(?![A-Za-z]|\d\d)")  # long enough to be no accident
_NO_ENGLISH = "[b-df-hj-np-tv-xzB-DF-HJ-NP-TV-XZ]{2,5}(?![A-Za-z])"  # a word without a vowel
_KEYED_APART = re.compile(  # syllable by syllable: tl qkf
    rf"(?<![A-Za-z])(?=[A-Za-z ]{{5}})(?=(?:[A-Za-z]{{2,5}} ){{0,3}}{_NO_ENGLISH})"
    r"[A-Za-z]{2,5}(?: [A-Za-z]{2,5}){1,3}(?![A-Za-z])"
)
_LATIN = re.compile("[A-Za-zＡ-Ｚａ-ｚ]")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S{1,200}")
_WIDE = re.compile("[Ａ-Ｚａ-ｚ]")
_NARROW = {wide: wide - 0xFEE0 for wide in (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_FIRST = {"a": "a@", "s": "s$5"}  # signs for a first letter
_WORD_BEGINS = r"(?<![a-z@$])"


class LatinRules:
    """The Latin rules, one expression for each letter that a word may begin with."""

    def __init__(self, rules: tuple[LatinRule, ...]) -> None:
        self._rules = rules
        by_letter: dict[str, list[str]] = {}
        for index, rule in enumerate(rules):
            for letter, forms in _by_letter(rule).items():
                by_letter.setdefault(letter, []).append(f"(?P<r{index}>{_expression(rule, forms)})")
        self._patterns = {
            sign: re.compile("|".join(parts))
            for letter, parts in by_letter.items()
            for sign in _FIRST.get(letter, letter)
        }
        inside = {letter for rule in rules if rule.inside for letter in _by_letter(rule)}
        begins = re.escape("".join(sorted(self._patterns))) or "a"
        anywhere = f"|[{''.join(sorted(inside))}]" if inside else ""
        self._first = re.compile(f"{_WORD_BEGINS}[{begins}]{anywhere}")

    def find(self, text: str) -> Iterator[tuple[int, int, LatinRule]]:
        """Yield span and rule from left to right; `text` is normalised."""
        at = 0
        while first := self._first.search(text, at):
            match = self._patterns[first.group()].match(text, first.start())
            at = first.start() + 1
            if match is not None and match.lastgroup is not None:
                yield match.start(), match.end(), self._rules[int(match.lastgroup[1:])]
                at = match.end()


def _by_letter(rule: LatinRule) -> dict[str, list[str]]:
    letters: dict[str, list[str]] = {}
    for form in sorted(rule.forms, key=len, reverse=True):
        for letter in _openings(form):
            letters.setdefault(letter, []).append(form)
    return letters


def _either(letter: str) -> str:
    """Return the expression for a letter or what stands for it."""
    return f"[{re.escape(_LEET[letter])}]" if letter in _LEET else letter


def _openings(form: str) -> set[str]:
    """Return the letters that a form may begin with."""
    if not form.startswith("("):
        return {form[0]}
    return {way[0] for way in form[1 : form.index(")")].split("|")}


def _expression(rule: LatinRule, forms: list[str]) -> str:
    """Return the expression for the forms of `rule` that begin with one letter."""
    joined = "|".join(map(_joined, forms))
    left, right = ("", "") if rule.inside else (_WORD_BEGINS, "(?![a-z])")
    if rule.only == "hidden":
        left += f"(?!(?:{'|'.join(forms)})(?![a-z]))"
    plain = [form for form in forms if form.isalpha() and len(form) >= 4]
    spaced = "|".join(" ".join(map(_either, form)) for form in plain)
    letters = f"|{_WORD_BEGINS}(?:{spaced})(?![a-z])" if spaced else ""
    return f"{left}(?:{joined}){right}{letters}"


def _joined(form: str) -> str:
    """Translate a form: letters, (one|another) and spaces that may be left out."""
    masked = form.isalpha() and len(list(groupby(form))) > 3
    pieces: list[str] = []
    for ways, space, word in _PARTS.findall(form):
        first = not pieces
        if space:
            pieces.append(_SPACE)
        elif word:
            pieces.append(_letters(word, first=first, masked=masked))
        else:
            read = (_letters(way, first=first) for way in ways.split("|"))
            pieces.append(f"(?:{'|'.join(read)})")
    return "".join(pieces)


def _letters(word: str, *, first: bool, masked: bool = False) -> str:
    """Allow repeats, leet, a mark between two letters, and a mask for an inner one."""
    if not word.strip():
        return _SPACE if word else ""
    runs = [(letter, len(list(run))) for letter, run in groupby(word)]
    parts = []
    for index, (letter, count) in enumerate(runs):
        if index == 0 and first:
            body = f"[{_FIRST[letter]}]" if letter in _FIRST else letter
        else:
            body = _either(letter)
        # all that repeats is one letter, but the last may belong to what comes next: michin nom
        repeated = f"{body}{{{count},6}}" + ("+" if index < len(runs) - 1 else "")
        inner = 0 < index < len(runs) - 1
        hidden = f"(?:{body}|[{_MASK}]){{{count}}}"
        parts.append(f"(?:{repeated}|{hidden})" if masked and inner else repeated)
    return ("" if first else _BREAK) + _BREAK.join(parts)


def keyed_words(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield span and reading of each Latin word that types whole Hangul syllables.

    A word with capitals is read in small letters, too: Whwrk, TLQKF.
    """
    if _LATIN.search(text) is None:
        return
    addresses = [found.span() for found in _ADDRESS.finditer(text)]

    def addressed(at: int) -> bool:
        return any(start <= at < end for start, end in addresses)

    narrow = text.translate(_NARROW) if _WIDE.search(text) else text
    for match in KEYED.finditer(narrow):
        if addresses and addressed(match.start()):
            continue
        for word in sorted({match.group(), match.group().lower()}):
            if reading := _reading(word):
                yield match.start(), match.end(), reading
    for match in _KEYED_APART.finditer(narrow):
        for words in sorted({match.group(), match.group().lower()}):
            readings = [_reading(word, 1) for word in words.split(" ")]
            if all(len(reading) == 1 for reading in readings):
                yield match.start(), match.end(), "".join(readings)


@lru_cache(maxsize=8192)
def _reading(word: str, least: int = 2) -> str:
    reading = from_keys(word)
    return reading if len(reading) >= least and all(map(is_syllable, reading)) else ""
