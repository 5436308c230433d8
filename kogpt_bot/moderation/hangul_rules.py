"""Finds the Hangul rules in a text: two characters select the forms, the context decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from kogpt_bot.moderation.lexicon import Rule
from kogpt_bot.moderation.normalise import View
from kogpt_bot.moderation.pattern import (
    MAX_GAP,
    Slot,
    Way,
    disguises,
    following,
    openings,
    parse,
    plain_end,
)

MAX_KEPT = 20_000  # openings whose forms are kept sorted; hostile text has ever new ones
LONG = 400  # characters; in a longer text what is decided at one place is kept for its likes
REACH = 80  # characters after its beginning that a match and its excuses can depend on
CONTEXT = 16  # characters on either side that a rule may look at

# A word begins: no Hangul before, or one of the syllables that people put before an insult.
_LEFT: dict[str, re.Pattern[str] | None] = {
    "any": None,
    "edge": re.compile(
        r"(?<![가-힣a-z0-9])|(?<=[개씹쌍왜아야와진어에이그저니네넌난좀또])"
        r"|(?<=진짜)|(?<=완전)|(?<=이런)|(?<=저런)|(?<=존나)|(?<=[씨시]발)|(?<=그냥)|(?<=제발)"
    ),
    "start": re.compile(r"(?<![가-힣a-z0-9])"),
    "alone": re.compile(r"\A"),
}
# A word ends: no Hangul after, or a particle or an ending.
_ENDINGS = "이가은는을를의에도만과와랑로야아여라요들님처럼같네냐임인년놈새거건걸뭐왜진개존씨좀"
_RIGHT: dict[str, re.Pattern[str] | None] = {
    "any": None,
    "edge": re.compile(rf"(?![가-힣](?<![{_ENDINGS}]))"),
    "end": re.compile(r"(?![가-힣])"),
    "alone": re.compile(r"\Z"),
}
_INITIALS_LEFT = re.compile(r"(?<![ㄱ-ㅊㅌㅍa-z])")
_INITIALS_RIGHT = re.compile(r"(?![ㄱ-ㅊㅌㅍ])")
# Around initials that are a riddle, a lesson or an abbreviation that is explained.
_ABOUT_INITIALS = ("초성", "자음", "힌트", "약자", "줄임말", "이니셜", "ㄱㄴㄷ", "퀴즈", "받침")
_CASES = tuple("이가은는을를의도들")  # particles after a noun
_IGNORED = re.compile(r"[ .]")  # in the context
# A few syllables, then something else; with what comes after it, if that is a syllable.
_INTERRUPTED = re.compile(
    rf"(.[가-힣]{{0,5}}+)[^가-힣](?:[^가-힣ㄱ-ㅣ]{{0,{MAX_GAP}}}+([가-힣]))?", re.S
)
_JOINED = re.compile(r"[가-힣](?<![아야와왜오하])$")  # a word goes on; 아 시발 is often one word
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
    left: re.Pattern[str] | None  # what must be true where it begins
    right: re.Pattern[str] | None  # ... and where it ends
    slots: tuple[Slot, ...]
    syllables: tuple[Slot, ...]  # without the natural spaces
    disguises: tuple[Way, ...]
    following: tuple[frozenset[str], ...]  # by the number of syllables before
    follows: re.Pattern[str] | None  # what makes the match harmless
    contextual: bool  # whether anything else around may do so
    weight: tuple[int, int]  # longer forms are tried first, then graver ones

    def goes_on(self, read: int, after: str | None) -> bool:
        """Whether `after` may come after a sign, when so many syllables have been read."""
        return read < len(self.following) and (after is None or after in self.following[read])

    def disguised_end(self, text: str, start: int, *, spaced: bool) -> int | None:
        """Return where the form ends with something (`spaced`: a space first) put in, or None."""
        for way in self.disguises:
            if spaced and not way.spaces:
                continue
            end = way.end(self.syllables, text, start)
            if end is not None:
                return end
        return None


_Known = dict[tuple[int, str], Hit | None]


class HangulRules:
    """The rules, indexed by the two characters with which a match begins."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._forms: dict[str, dict[str, list[_Form]]] = {}
        for rule in map(_with_riddles, rules):
            follows = _follows(rule)
            lists = (rule.joined, rule.not_joined, rule.not_before, rule.not_near)
            contextual = any(lists)
            for text in rule.forms:
                slots = parse(text)
                form = _Form(
                    rule,
                    _INITIALS_LEFT if rule.initials else _LEFT[rule.left],
                    _INITIALS_RIGHT if rule.initials else _RIGHT[rule.right],
                    slots,
                    tuple(slot for slot in slots if not slot.is_space),
                    disguises(slots, gaps=rule.gaps),
                    following(slots),
                    follows,
                    contextual,
                    (-len(slots), -rule.severity),
                )
                for first, second in openings(text):
                    self._forms.setdefault(first, {}).setdefault(second, []).append(form)
        begins = re.escape("".join(sorted(self._forms)))
        self._first = re.compile(f"[{begins}]" if begins else r"(?!)")
        self._seconds = {  # most places are passed over by these
            first: frozenset() if "" in by_second else frozenset(by_second)
            for first, by_second in self._forms.items()
        }
        self._sorted: dict[str, tuple[_Form, ...]] = {}

    def find(self, view: View) -> Iterator[Hit]:
        """Yield hits from left to right; only what a mild hit covers may be hit again."""
        text = view.text
        known: _Known | None = {} if len(text) > LONG and view.starts is None else None
        at = 0
        for found in self._first.finditer(text):
            start = found.start()
            if start < at:
                continue
            seconds, second = self._seconds[text[start]], text[start + 1 : start + 2]
            if second == " ":
                second = text[start + 2 : start + 3]
            if seconds and "가" <= second <= "힣" and second not in seconds:
                continue  # most places end here
            hit = self._look(view, start) if known is None else self._recall(view, start, known)
            if hit:
                yield hit  # a mild word does not hide a graver one within it: 개지 in 개지랄
                at = hit.end if hit.rule.severity > 1 else start + 1

    def _look(self, view: View, start: int) -> Hit | None:
        forms = self._plausible(view.text, start)
        return self._match(view, start, forms) if forms else None

    def _recall(self, view: View, start: int, known: _Known) -> Hit | None:
        """Remember what was found where the text around was the same, or look."""
        around = (min(start, CONTEXT), view.text[max(0, start - CONTEXT) : start + REACH])
        if around not in known:
            known[around] = self._look(view, start)
        same = known[around]
        return same and Hit(start, start + same.end - same.start, same.rule)

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
            if len(self._sorted) >= MAX_KEPT:
                self._sorted.clear()
            found = [form for second in ("", *seconds) for form in by_second.get(second, ())]
            forms = self._sorted[key] = tuple(sorted(found, key=_weight))
        return forms

    def _match(self, view: View, start: int, forms: tuple[_Form, ...]) -> Hit | None:
        text = view.text
        inside = _INTERRUPTED.match(text, start)
        spaced = inside is not None and text[inside.end(1)].isspace()
        for form in forms:
            if form.left is not None and form.left.match(text, start) is None:
                continue
            end = plain_end(form.slots, text, start)
            if end is None and inside and form.goes_on(len(inside[1]), inside[2]):
                end = form.disguised_end(text, start, spaced=spaced)
            if end is None or (form.right and form.right.match(text, end) is None):
                continue
            if form.rule.only == "hidden" and not _disguised(view, start, end):
                continue
            if form.follows is not None and form.follows.match(text, end):
                continue
            if not form.contextual or not _harmless(form.rule, text, start, end):
                return Hit(start, end, form.rule)
        return None


def _with_riddles(rule: Rule) -> Rule:
    """Return the rule; initials are excused where people talk about initials."""
    if not all(all("ㄱ" <= char <= "ㅎ" for char in parse(form)[0].choices) for form in rule.forms):
        return rule
    return replace(rule, not_near=(*rule.not_near, *_ABOUT_INITIALS))


@lru_cache(maxsize=1024)
def _nouns(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return those long enough to be sure of them with a particle after."""
    return tuple(word for word in words if len(word) > 1)


def _weight(form: _Form) -> tuple[int, int]:
    return form.weight


def _disguised(view: View, start: int, end: int) -> bool:
    return _PLAIN.fullmatch(view.text, start, end) is None or view.altered(start, end)


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
    if rule.joined and _JOINED.search(before_raw) and after_raw.startswith(rule.joined):
        return True
    if before_raw.endswith(rule.not_joined) and not before_raw.endswith(rule.joined_unless):
        return True
    before, after = _IGNORED.sub("", before_raw), _IGNORED.sub("", after_raw)
    if before.endswith(rule.not_before) and not before.endswith(rule.before_unless):
        return True
    if before.endswith(_CASES) and before[:-1].endswith(_nouns(rule.not_before)):
        return True  # 캥거루가 새끼를, 딸기를 따먹
    return any(word in before or word in after for word in rule.not_near)
