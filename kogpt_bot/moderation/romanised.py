"""Compares words in Latin letters with Hangul by how they sound, whatever the spelling.

    sounds("byungshin") == sounds("byeongsin") == sounds_of("병신")

Everybody romanises as he pleases, so letters that stand for one sound in somebody's spelling are
one sign here: s, ss, sh and x; b, p and v; o, u, eo and eu. What is lost by that must be made up
for by length: `romanised words` of a few sounds are left to the rules of the lexicon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from kogpt_bot.moderation.hangul import decompose
from kogpt_bot.moderation.lexicon import CloakedRule

_VOWELS = {
    "a": "a ah aa ya wa",
    "e": "ae e ay ea yae ye we wae oe",
    "i": "i ee y ie wi ui",
    "u": "o u eo eu oo ou uh oh yeo yu yo wo yeu",
}
_CONSONANTS = {
    "g": "g k kk gg ck kg gk",
    "n": "n nn",
    "N": "ng",
    "d": "d t dd tt",
    "r": "r l rr ll lr rl ln",  # 씨발년 is ssibalnyeon or, as it is said, ssiballyeon
    "m": "m mm",
    "b": "b p bb pp v ph",
    "s": "s ss sh ssh x sz",
    "j": "j z jj zz dz",
    "c": "ch tch c",
    "h": "h",
}
_SIGNS = {
    spelling: sign
    for table in (_VOWELS, _CONSONANTS)
    for sign, spellings in table.items()
    for spelling in spellings.split()
}
_SPELLED = re.compile("|".join(sorted(_SIGNS, key=len, reverse=True)))
_ONSETS = dict(zip("ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", "ggnddrmbbss jjcgdbh", strict=True))
_NUCLEI = dict(
    zip("ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ", "aeaeueueuaeeuuueiuuii", strict=True)
)
_CODAS = dict(zip("ㄱㄲㅋㄳㄴㄵㄶㄷㅅㅆㅈㅊㅌㄹㅀㅁㅂㅍㅄㅇ", "ggggnnnddddddrrmbbbN", strict=True))


@lru_cache(maxsize=8192)
def sounds(latin: str) -> str:
    """Return the sounds of a word in small Latin letters; the empty string for what has none."""
    signs: list[str] = []
    at = 0
    while at < len(latin):
        spelled = _SPELLED.match(latin, at)
        if spelled is None:
            return ""
        signs.append(_SIGNS[spelled.group()])
        at = spelled.end()
    return "".join(signs)


@lru_cache(maxsize=1024)
def sounds_of(hangul: str) -> str:
    """Return the sounds of syllables; two that meet and are one sound to the ear become one."""
    signs: list[str] = []
    for syllable in hangul:
        onset, vowel, coda = decompose(syllable)
        before, sign = "".join(signs[-1:]), _ONSETS[onset]
        if onset != "ㅇ" and before != sign and before + sign != "rn":
            signs.append(sign)
        signs.append(_NUCLEI[vowel])
        if coda in _CODAS:
            signs.append(_CODAS[coda])
    return "".join(signs)


ENOUGH = 6  # sounds that a word written as one must have, not to be another by chance
ENOUGH_APART = 5  # ... that a word written syllable by syllable must have
MOST_APART = 4  # syllables that are looked at together
_WORD = re.compile(r"[a-z](?<![a-z0-9][a-z])[a-z]{1,23}(?![a-z0-9])")
_JOINT = re.compile(r"[ \-_.·]")  # between two syllables
# What a word may end with besides: vocatives, particles, and whom it is about.
_SUFFIXES = ("들", "아", "야", "이", "가", "는", "놈", "년", "새끼", "하네", "해")
_ENDINGS = tuple(map(sounds_of, _SUFFIXES))


class Romanised:
    """The words of the cloaked rules in Latin letters: byungshinsaekki, mi chin nom, jon-na."""

    def __init__(self, rules: tuple[CloakedRule, ...]) -> None:
        self._words: dict[str, tuple[str, CloakedRule]] = {}
        self._begins: set[str] = set()
        for rule in rules:
            for word in rule.words:
                self._words.setdefault(sounds_of(word), (word, rule))
                self._begins.update(sounds_of(word[:size]) for size in range(1, len(word)))

    def find(self, text: str) -> Iterator[tuple[int, int, str, CloakedRule]]:
        """Yield span, word and rule of each match; `text` is normalised."""
        words = [(*word.span(), word.group()) for word in _WORD.finditer(text)]
        at = 0
        for index, (start, _, _) in enumerate(words):
            if start >= at and (hit := self._at(text, words[index : index + MOST_APART])):
                yield hit
                at = hit[1]

    def _at(
        self, text: str, words: list[tuple[int, int, str]]
    ) -> tuple[int, int, str, CloakedRule] | None:
        """Return what the first of `words` is, or begins with those after it."""
        start, end, letters = words[0]
        spoken = sounds(letters)
        known = self._known(spoken, ENOUGH)
        if known is None and spoken in self._begins:
            for begin, after, syllable in words[1:]:
                if begin != end + 1 or not _JOINT.match(text, end):
                    break
                letters, end = letters + syllable, after
                known = self._known(sounds(letters), ENOUGH_APART)
                if known is not None:
                    break
        return known and (start, end, *known)

    def _known(self, spoken: str, enough: int) -> tuple[str, CloakedRule] | None:
        if len(spoken) < enough:
            return None
        if known := self._words.get(spoken):
            return known
        for ending in _ENDINGS:
            stem = spoken.removesuffix(ending)
            if len(spoken) > len(stem) >= enough and (known := self._words.get(stem)):
                return known
        return None
