"""Makes rules for words that are spelled as they could be heard: 개쟈식, 뒤져롸, 쐉놈.

In a word of three syllables one may be any that sounds like it. In a word of two it must be one
that Korean does not write (outside the 2,350 of KS X 1001): 틀똭 is a disguise, 틀닥 a slip.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kogpt_bot.moderation.hangul import compose, decompose
from kogpt_bot.moderation.lexicon import CloakedRule, Rule

_SURE = 3  # syllables in a word that is known by all but one of them

_VOWELS = ("ㅏㅑㅘ", "ㅓㅕㅝ", "ㅐㅔㅒㅖㅙㅚㅞ", "ㅣㅟㅢ", "ㅗㅛ", "ㅜㅠㅡ")
_TENSE = dict(zip("ㄱㄷㅂㅅㅈ", "ㄲㄸㅃㅆㅉ", strict=True))  # not back: 또라이, but 도라이버
_CODAS = ("ㄱㄲㅋ", "ㄷㅌㅅㅆㅈㅊㅎ", "ㅂㅍㅄ", "ㄴㄵㄶ", "ㄹㅀㄼ")


def _among(groups: tuple[str, ...], jamo: str) -> str:
    return next((group for group in groups if jamo and jamo in group), jamo)


@lru_cache(maxsize=1024)
def alikes(syllable: str) -> frozenset[str]:
    """Return the other syllables that sound like this one."""
    onset, vowel, coda = decompose(syllable)
    codas = _among(_CODAS, coda) or [""]
    same = {
        compose(o, v, c)
        for o in (onset, _TENSE.get(onset, onset))
        for v in _among(_VOWELS, vowel)
        for c in codas
    }
    return frozenset(same - {syllable})


def written(syllable: str) -> bool:
    """Whether Korean texts use this syllable: it is one of the 2,350 of KS X 1001."""
    try:
        return len(syllable.encode("euc_kr")) == 2  # the others take a longer way round
    except UnicodeEncodeError:
        return False


def spoken(rule: CloakedRule) -> Iterator[Rule]:
    """Make the rules that find the words of `rule` with one syllable spelled by ear."""
    for word in rule.words:
        if forms := tuple(_forms(word)):
            yield Rule(
                rule.id, rule.category, rule.severity, forms, word=word, gaps="tight", left="edge"
            )


def _forms(word: str) -> list[str]:
    forms = []
    for at, syllable in enumerate(word):
        ways = {way for way in alikes(syllable) if len(word) >= _SURE or not written(way)}
        if ways:
            forms.append(f"{word[:at]}[{''.join(sorted(ways))}]{word[at + 1 :]}")
    return forms
