"""Hangul arithmetic: syllables and jamo, and the two-set keyboard."""

from __future__ import annotations

CHOSEONG = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
JUNGSEONG = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
JONGSEONG: tuple[str, ...] = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")

_FIRST, _LAST = 0xAC00, 0xD7A3
_CHO = {jamo: index for index, jamo in enumerate(CHOSEONG)}
_JUNG = {jamo: index for index, jamo in enumerate(JUNGSEONG)}
_JONG = {jamo: index for index, jamo in enumerate(JONGSEONG)}
VOWEL_PAIRS = {
    "ㅗㅏ": "ㅘ", "ㅗㅐ": "ㅙ", "ㅗㅣ": "ㅚ", "ㅜㅓ": "ㅝ", "ㅜㅔ": "ㅞ",
    "ㅜㅣ": "ㅟ", "ㅡㅣ": "ㅢ",
}  # fmt: skip
CODA_PAIRS = {
    "ㄱㅅ": "ㄳ", "ㄴㅈ": "ㄵ", "ㄴㅎ": "ㄶ", "ㄹㄱ": "ㄺ", "ㄹㅁ": "ㄻ", "ㄹㅂ": "ㄼ",
    "ㄹㅅ": "ㄽ", "ㄹㅌ": "ㄾ", "ㄹㅍ": "ㄿ", "ㄹㅎ": "ㅀ", "ㅂㅅ": "ㅄ",
}  # fmt: skip

_KEYS = dict(
    zip(
        "rRseEfaqQtTdwWczxvgkoiOjpuPhynbml",
        "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎㅏㅐㅑㅒㅓㅔㅕㅖㅗㅛㅜㅠㅡㅣ",
        strict=True,
    )
)


def is_syllable(char: str) -> bool:
    """Whether `char` is one precomposed syllable."""
    return _FIRST <= ord(char) <= _LAST


def is_onset(char: str) -> bool:
    """Whether the compatibility jamo `char` can begin a syllable."""
    return char in _CHO


def is_vowel(char: str) -> bool:
    """Whether `char` is a compatibility vowel."""
    return char in _JUNG


def is_coda(char: str) -> bool:
    """Whether the compatibility jamo `char` can end a syllable."""
    return char != "" and char in _JONG


def decompose(syllable: str) -> tuple[str, str, str]:
    """Split one precomposed syllable into onset, vowel and coda (perhaps empty)."""
    index = ord(syllable) - _FIRST
    return CHOSEONG[index // 588], JUNGSEONG[index % 588 // 28], JONGSEONG[index % 28]


def compose(onset: str, vowel: str, coda: str = "") -> str:
    """Join compatibility jamo into one precomposed syllable."""
    return chr(_FIRST + _CHO[onset] * 588 + _JUNG[vowel] * 28 + _JONG[coda])


def from_keys(keys: str) -> str:
    """Read Latin letters as typed on a two-set keyboard: `tlqkf` is 시발.

    A capital that has no shifted meaning is read as its small letter; what is no letter stays.
    """
    return compose_run([_KEYS.get(key) or _KEYS.get(key.lower(), key) for key in keys])


def compose_run(jamo: list[str]) -> str:
    """Join a run of compatibility jamo into syllables, the way an input method does."""
    return "".join(text for text, _ in compose_pieces(jamo))


def compose_pieces(jamo: list[str]) -> list[tuple[str, int]]:
    """Join a run of jamo; each piece comes with the number of items that it took."""
    pieces: list[tuple[str, int]] = []
    at = 0
    while at < len(jamo):
        piece = _syllable_at(jamo, at)
        pieces.append(piece)
        at += piece[1]
    return pieces


def _syllable_at(jamo: list[str], at: int) -> tuple[str, int]:
    """Read one syllable at `at`, or one item when none begins there."""
    end = len(jamo)
    if at + 1 >= end or not is_onset(jamo[at]) or not is_vowel(jamo[at + 1]):
        return jamo[at], 1
    onset, vowel, used = jamo[at], jamo[at + 1], 2
    if at + used < end and (pair := VOWEL_PAIRS.get(vowel + jamo[at + used])):
        vowel, used = pair, used + 1
    coda, more = _coda_at(jamo, at + used)
    return compose(onset, vowel, coda), used + more


def _coda_at(jamo: list[str], at: int) -> tuple[str, int]:
    """Read the coda at `at`: a consonant that the next vowel does not claim."""

    def claimed(index: int) -> bool:
        return index + 1 < len(jamo) and is_vowel(jamo[index + 1]) and is_onset(jamo[index])

    if at >= len(jamo) or not is_coda(jamo[at]) or claimed(at):
        return "", 0
    if jamo[at] in "ㅋㅎ" and at + 1 < len(jamo) and jamo[at + 1] == jamo[at]:
        return "", 0  # laughter after a word, no coda
    if at + 1 < len(jamo) and not claimed(at + 1):
        pair = CODA_PAIRS.get(jamo[at] + jamo[at + 1])
        if pair:
            return pair, 2
    return jamo[at], 1
