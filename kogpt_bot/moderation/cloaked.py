"""Finds words of which a part is hidden: 병X, 개*끼, ㅂ신, 틀ㄸ, byung신, 지ral, 미친nom.

What is hidden is one place that is no Hangul syllable (a mask, an initial, Latin letters) right
beside syllables that are the rest of the word. The rest selects the words, what is hidden must
agree with one of them; so the work at one place is a few look-ups, however many words there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kogpt_bot.moderation.hangul import decompose
from kogpt_bot.moderation.lexicon import CloakedRule
from kogpt_bot.moderation.romanised import sounds, sounds_of

MASKS = "*×✕○●◯◎□■#"
_INNER_MASKS = "?@_♡♥☆★"  # masks only between two syllables; elsewhere they are what they are
_TELLING = "개씨좆씹쌍썅엿닥"  # 개XX is an insult, 김XX a person whose name is not told
_STRESSED = 80  # characters between two stars
LONGEST = 4  # syllables in a word, and letters of it on one side of the hidden part
REACH = LONGEST + 4  # characters on either side that a match at a place can depend on

# A mask, Latin letters, initials but for laughter.
_PLACE = re.compile(
    rf"(?P<mask>x{{1,3}}(?![a-z])|(?P<sign>[{re.escape(MASKS + _INNER_MASKS)}])(?P=sign){{0,2}})"
    r"|(?P<latin>[a-z]{1,12})"
    r"|(?P<initials>[ㄱ-ㅊㅌㅍ]{1,2}(?![ㄱ-ㅣ]))"
)
_HINT = re.compile(  # most texts have no such place
    rf"[가-힣][a-zㄱ-ㅎ{re.escape(MASKS + _INNER_MASKS)}]|[a-zㄱ-ㅎ][가-힣]"
)
_BEFORE = re.compile(rf"[가-힣]{{0,{LONGEST}}}\Z")
_AFTER = re.compile(rf"[가-힣]{{0,{LONGEST}}}")
# Where a word may begin: no letter before, or a word that people put before an insult.
_BEGINS = re.compile(
    r"(?<![가-힣ㄱ-ㅣa-z0-9*○#])|(?<=(?<![가-힣])[개씹쌍왜아야와진어에이그저니네넌난좀또])"
    r"|(?<=진짜)|(?<=완전)|(?<=이런)|(?<=저런)|(?<=미친)|(?<=씨발)|(?<=시발)|(?<=존나)|(?<=같은)"
)
_ENDINGS = (  # particles, endings and what is said next; no list can be complete
    "이가은는을를의에도만과와랑로야아여라요들님처같네냐임인"
    "년놈새것거건걸뭐왜진개존씨좀하한해할했함짓티다고지나려"
)
_ENDS = re.compile(rf"(?![a-z0-9ㄱ-ㅊㅌㅍ{re.escape(MASKS)}])(?![가-힣](?<![{_ENDINGS}]))")

_Hit = tuple[int, int, str, CloakedRule]
_Known = dict[tuple[str, str], list[tuple[str, str, CloakedRule]]]


class Cloaked:
    """The words that are looked for with a part hidden."""

    def __init__(self, rules: tuple[CloakedRule, ...]) -> None:
        self._rest: _Known = {}  # what is left before and after: what is hidden, the word, its rule
        for rule in rules:
            for word in rule.words:
                for start in range(len(word)):
                    for end in range(start + 1, len(word) + 1):
                        rest = word[:start], word[end:]
                        if any(rest):
                            hidden = word[start:end]
                            self._rest.setdefault(rest, []).append((hidden, word, rule))
        self._heads = {head for head, _ in self._rest}

    def find(self, text: str) -> Iterator[_Hit]:
        """Yield span, word and rule of each match; `text` is normalised."""
        if _HINT.search(text) is None:
            return
        known: dict[tuple[str, int], _Hit | None] = {}  # hostile text repeats itself
        at = 0
        for place in _PLACE.finditer(text):
            start = place.start()
            if start < at:
                continue
            first = max(0, start - REACH)
            around = text[first : place.end() + REACH], start - first
            if "*" in around[0]:  # what it is depends on stars far before
                hit = self._at(text, place)
            else:
                if around not in known:
                    known[around] = _moved(self._at(text, place), -start)
                hit = _moved(known[around], start)
            if hit is not None:
                yield hit
                at = hit[1]

    def _at(self, text: str, place: re.Match[str]) -> _Hit | None:
        start, end = place.span()
        before = _BEFORE.search(text, max(0, start - LONGEST), start)
        after = _AFTER.match(text, end)
        if before is None or after is None or before.end() - before.start() + len(after[0]) == 0:
            return None
        head, tail = before[0], after[0]
        for taken in range(len(head), -1, -1):
            left = head[len(head) - taken :]
            if left not in self._heads or not _BEGINS.match(text, start - taken):
                continue
            for more in range(len(tail), -1, -1):
                for hidden, word, rule in self._rest.get((left, tail[:more]), ()):
                    if _agrees(hidden, place, word) and _ENDS.match(text, end + more):
                        return start - taken, end + more, word, rule
        return None


def _moved(hit: _Hit | None, by: int) -> _Hit | None:
    return hit and (hit[0] + by, hit[1] + by, *hit[2:])


def _agrees(hidden: str, place: re.Match[str], word: str) -> bool:
    """Whether what stands at `place` may hide the syllables `hidden` of `word`."""
    shown = place.group()
    if place["mask"]:
        return _masks(hidden, place, word)
    if place["latin"]:
        return len(shown) > 1 and sounds(shown) == sounds_of(hidden)
    if shown != "".join(decompose(syllable)[0] for syllable in hidden):
        return False
    answer = len(word) == 2 and word[0] == hidden and shown in "ㅇㄴㅁ"
    return 2 * len(hidden) <= len(word) and not answer


def _masks(hidden: str, place: re.Match[str], word: str) -> bool:
    shown = place.group()
    longer = len(shown) - len(hidden)  # 개*** is 개새끼, too
    if longer not in (0, 1) or (longer and len(hidden) == 1):
        return False
    if word.startswith(hidden) or _closes(place):
        return False  # before a word, bullets and emphasis
    if shown[0] in _INNER_MASKS and word.endswith(hidden):
        return False
    return len(hidden) == 1 or len(word) - len(hidden) > 1 or word[0] in _TELLING


def _closes(place: re.Match[str]) -> bool:
    """Whether the stars at `place` end what was *stressed* by stars before."""
    before = place.string[max(0, place.start() - _STRESSED) : place.start()]
    return place.group()[0] == "*" and before.count(place.group()) % 2 == 1
