"""Finds the Hangul rules in a text: two characters select the forms, the context decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kogpt_bot.moderation.lexicon import Rule
from kogpt_bot.moderation.normalise import View
from kogpt_bot.moderation.pattern import MAX_GAP, expression, openings, parse

CONTEXT = 16  # characters on either side that a rule may look at

# A word begins: no Hangul before, or one of the syllables that people put before an insult.
_LEFT_EDGE = r"(?:(?<![가-힣a-z0-9])|(?<=[개씹쌍왜아야와진어에이그저니네넌난좀또]))"
# A word ends: no Hangul after, or a particle or an ending.
_ENDINGS = "이가은는을를의에도만과와랑로야아여라요들님처럼같네냐임인년놈새거건걸뭐왜진개존씨좀"
_RIGHT_EDGE = rf"(?![가-힣](?<![{_ENDINGS}]))"
_LEFT = {"any": "", "edge": _LEFT_EDGE, "start": r"(?<![가-힣a-z0-9])"}
_RIGHT = {"any": "", "edge": _RIGHT_EDGE, "end": r"(?![가-힣])"}
_INITIALS_LEFT = r"(?<![ㄱ-ㅊㅌㅍa-z])"
_INITIALS_RIGHT = r"(?![ㄱ-ㅊㅌㅍ])"
_IGNORED = re.compile(r"[ .]")  # in the context
_PLAIN = re.compile(r"[가-힣]+(?: [가-힣]+)*")


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule matched `[start, end)` of the normalised text."""

    start: int
    end: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class _Form:
    rule: Rule
    regex: str
    follows: re.Pattern[str] | None  # what makes the match harmless
    contextual: bool  # whether anything else around may do so
    weight: tuple[int, int]  # longer forms are tried first, then graver ones


class HangulRules:
    """The rules, indexed by the two characters with which a match begins.

    An expression is compiled when its first two characters are first met: all of them together
    would take seconds at start-up, and most are never needed.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._forms: dict[str, dict[str, list[_Form]]] = {}
        for rule in rules:
            follows = _follows(rule)
            lists = (rule.joined, rule.not_joined, rule.not_before, rule.not_near)
            contextual = any(lists)
            for text in rule.forms:
                weight = (-len(parse(text)), -rule.severity)
                form = _Form(rule, _bounded(rule, text), follows, contextual, weight)
                for first, second in openings(text):
                    self._forms.setdefault(first, {}).setdefault(second, []).append(form)
        begins = re.escape("".join(sorted(self._forms)))
        self._first = re.compile(f"[{begins}]" if begins else r"(?!)")
        self._compiled: dict[str, re.Pattern[str]] = {}
        self._sorted: dict[str, tuple[_Form, ...]] = {}

    def find(self, view: View) -> Iterator[Hit]:
        """Yield hits from left to right; only what a mild hit covers may be hit again."""
        text = view.text
        at = 0
        for found in self._first.finditer(text):
            start = found.start()
            if start < at:
                continue
            forms = self._plausible(text, start)
            if forms and (hit := self._match(view, start, forms)):
                yield hit  # a mild word does not hide a graver one within it: 개지 in 개지랄
                at = hit.end if hit.rule.severity > 1 else start + 1

    def _plausible(self, text: str, start: int) -> tuple[_Form, ...]:
        """Return the forms whose second character follows, fillers skipped; best first."""
        by_second = self._forms[text[start]]
        seconds = ""
        for char in text[start + 1 : start + 2 + MAX_GAP]:
            if char in by_second and char not in seconds:
                seconds += char
            if "가" <= char <= "힣":
                break
        key = text[start] + seconds
        forms = self._sorted.get(key)
        if forms is None:
            found = [form for second in ("", *seconds) for form in by_second.get(second, ())]
            forms = self._sorted[key] = tuple(sorted(found, key=_weight))
        return forms

    def _match(self, view: View, start: int, forms: tuple[_Form, ...]) -> Hit | None:
        among_initials = start > 0 and "ㄱ" <= view.text[start - 1] <= "ㅊ"
        for form in forms:
            if among_initials and form.rule.initials:
                continue
            match = self._pattern(form.regex).match(view.text, start)
            if match is None:
                continue
            end = match.end()
            if form.rule.only == "hidden" and not _disguised(view, start, end):
                continue
            if form.follows is not None and form.follows.match(view.text, end):
                continue
            if not form.contextual or not _harmless(form.rule, view.text, start, end):
                return Hit(start, end, form.rule)
        return None

    def _pattern(self, regex: str) -> re.Pattern[str]:
        pattern = self._compiled.get(regex)
        if pattern is None:
            pattern = self._compiled[regex] = re.compile(regex)
        return pattern


def _weight(form: _Form) -> tuple[int, int]:
    return form.weight


def _disguised(view: View, start: int, end: int) -> bool:
    return _PLAIN.fullmatch(view.text, start, end) is None or view.altered(start, end)


def _bounded(rule: Rule, form: str) -> str:
    """Return the expression of a form with what must stand on either side."""
    left, right = _LEFT[rule.left], _RIGHT[rule.right]
    if rule.initials:
        left, right = _INITIALS_LEFT + left, _INITIALS_RIGHT + right
    return left + expression(form, gaps=rule.gaps) + right


def _follows(rule: Rule) -> re.Pattern[str] | None:
    """Compile `not_into` and `not_after`; a `$` in them is the end of a word."""
    into = [re.escape(word) for word in rule.not_into]
    after = ["[ .]{0,2}" + "[ .]?".join(map(re.escape, word)) for word in rule.not_after]
    if not into and not after:
        return None
    return re.compile("|".join(into + after).replace(r"\$", "(?![가-힣])"))


def _harmless(rule: Rule, text: str, start: int, end: int) -> bool:
    """Whether what stands around makes a match harmless."""
    before_raw = text[max(0, start - CONTEXT) : start]
    after_raw = text[end : end + CONTEXT]
    if rule.joined and before_raw[-1:].strip() and after_raw and after_raw[0] in rule.joined:
        return True
    if before_raw.endswith(rule.not_joined) and not before_raw.endswith(rule.joined_unless):
        return True
    before, after = _IGNORED.sub("", before_raw), _IGNORED.sub("", after_raw)
    if before.endswith(rule.not_before) and not before.endswith(rule.before_unless):
        return True
    return any(word in before or word in after for word in rule.not_near)
