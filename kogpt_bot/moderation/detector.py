"""The profanity detector: what is profane in a text, where, how bad, and why."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from kogpt_bot.moderation.alike import spoken
from kogpt_bot.moderation.cloaked import Cloaked
from kogpt_bot.moderation.drawing import drawn
from kogpt_bot.moderation.hangul import is_syllable
from kogpt_bot.moderation.hangul_rules import HangulRules, Hit
from kogpt_bot.moderation.latin_rules import LatinRules, keyed_words
from kogpt_bot.moderation.lexicon import AnyRule, Category, LatinRule, Lexicon, Rule, load_default
from kogpt_bot.moderation.normalise import View, normalise, shortened
from kogpt_bot.moderation.romanised import Romanised

PROFANE = 2  # the severity from which a text counts as profane
_FILLER = re.compile(r"[^가-힣ㄱ-ㅣ]+")  # what was put between the syllables
_LATIN_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Match:
    """One profane word; `text` is `[start, end)` of the original, in code points."""

    start: int
    end: int
    text: str
    canonical: str
    category: Category
    severity: int
    rule: str


class _Spans:
    """Where a pattern matches a text: spans in order, none overlapping."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        spans = [match.span() for match in pattern.finditer(text)]
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def cover(self, start: int, end: int) -> bool:
        """Whether one of the spans holds all of `[start, end)`."""
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self._ends[index]


class Detector:
    """Finds profanity; build it once, it is safe to share between threads."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._hangul = HangulRules(
            (*lexicon.rules, *chain.from_iterable(map(spoken, lexicon.cloaked)))
        )
        self._latin = LatinRules(lexicon.latin)
        self._cloaked = Cloaked(lexicon.cloaked)
        self._romanised = Romanised(lexicon.cloaked)
        phrases = sorted(lexicon.innocent, key=len, reverse=True)
        parts = (re.escape(phrase).replace(r"\ ", " {0,2}") for phrase in phrases)
        begins = re.escape("".join(sorted({phrase[0] for phrase in phrases})))  # fails fast
        pattern = f"(?=[{begins}])(?:{'|'.join(parts)})" if phrases else r"(?!)"
        self._innocent = re.compile(pattern, re.IGNORECASE)

    @classmethod
    def default(cls) -> Detector:
        """Build the detector for the lexicon of the package; takes tens of milliseconds."""
        return cls(load_default())

    def with_words(self, *, allow: Collection[str] = (), extra: Collection[str] = ()) -> Detector:
        """Return a detector that leaves the phrases in `allow` alone and also finds `extra`."""
        lexicon = self._lexicon
        spoken = [word for word in extra if not _LATIN_WORD.fullmatch(word.lower())]
        latin = [word.lower() for word in extra if _LATIN_WORD.fullmatch(word.lower())]
        return Detector(
            replace(
                lexicon,
                innocent=(*lexicon.innocent, *(word for word in allow if word.strip())),
                rules=(*(_extra(word) for word in spoken if word.strip()), *lexicon.rules),
                latin=(*(_extra_latin(word) for word in latin), *lexicon.latin),
            )
        )

    def find(self, text: str) -> tuple[Match, ...]:
        """Return every match from left to right, none overlapping."""
        view = normalise(text)
        found = self._in_view(text, view)
        for other in (shortened(view), drawn(text)):
            if other is not None:
                found.extend(self._in_view(text, other, new=True))
        found.extend(self._keyed(text))
        found.sort(key=lambda match: (match.start, -match.severity, -match.end))
        return _apart(found) if len(found) > 1 else tuple(found)

    def _in_view(self, text: str, view: View, *, new: bool = False) -> list[Match]:
        """Return the matches in one normalised form of `text`.

        With `new`, only those in what this form changed: the rest has been looked at.
        """
        innocent: _Spans | None = None
        found: list[Match] = []
        for start, end, word, rule in self._hits(view):
            low, high = view.span(start, end)
            if new and text[low:high].lower() == view.text[start:end]:
                continue
            if innocent is None:
                innocent = _Spans(self._innocent, view.text)
            if not innocent.cover(start, end):
                canonical = word or _FILLER.sub("", view.text[start:end])
                found.append(_match(text, (low, high), rule, canonical))
        return found

    def _hits(self, view: View) -> Iterator[tuple[int, int, str, AnyRule]]:
        """Yield span, word and rule of what may be profane."""
        for hit in self._hangul.find(view):
            yield hit.start, hit.end, hit.rule.word, hit.rule
        for start, end, latin in self._latin.find(view.text):
            yield start, end, latin.word, latin
        yield from self._cloaked.find(view.text)
        yield from self._romanised.find(view.text)

    def _keyed(self, text: str) -> Iterator[Match]:
        """Find Korean typed with the keyboard set to English: `tlqkf`, `tl qkf`."""
        known: dict[str, Hit | None] = {}
        for start, end, reading in keyed_words(text):
            if reading not in known:
                hits = self._hangul.find(View(reading))
                known[reading] = next((hit for hit in hits if hit.rule.severity >= PROFANE), None)
            hit = known[reading]
            if hit is not None and not self._innocent.fullmatch(text, start, end):
                canonical = hit.rule.word or reading[hit.start : hit.end]
                yield _match(text, (start, end), hit.rule, canonical)

    def is_profane(self, text: str, threshold: int = PROFANE) -> bool:
        """Whether anything in `text` is at least as severe as `threshold`."""
        return any(match.severity >= threshold for match in self.find(text))

    def explain(self, text: str) -> list[str]:
        """Say for each match what was found, as what, and by which rule."""
        return [_explanation(match) for match in self.find(text)] or ["nothing found"]


def _match(text: str, span: tuple[int, int], rule: AnyRule, canonical: str) -> Match:
    start, end = span
    return Match(start, end, text[start:end], canonical, rule.category, rule.severity, rule.id)


def _apart(found: list[Match]) -> tuple[Match, ...]:
    """Drop what overlaps an earlier match; the graver of two stays."""
    kept: list[Match] = []
    for match in found:
        if kept and match.start < kept[-1].end:
            if match.severity > kept[-1].severity:
                kept[-1] = match
            continue
        kept.append(match)
    return tuple(kept)


def _explanation(match: Match) -> str:
    read = "" if match.text == match.canonical else f", read as {match.canonical}"
    return (
        f"{match.start}-{match.end} {match.text!r}{read}: "
        f"{match.category.value}, severity {match.severity}, rule {match.rule}"
    )


def _extra(word: str) -> Rule:
    """Make a rule of an owner's own word, taken letter by letter."""
    folded = normalise(word.strip()).text
    form = "".join(" " if char.isspace() else f"[{char}]" for char in folded if char not in "[]")
    gaps = "tight" if all(is_syllable(char) for char in folded) else "none"
    return Rule(f"extra:{word}", Category.SWEARING, PROFANE, (form,), word=word.strip(), gaps=gaps)


def _extra_latin(word: str) -> LatinRule:
    return LatinRule(f"extra:{word}", Category.SWEARING, PROFANE, (word,), word=word)
