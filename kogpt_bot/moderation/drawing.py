"""Reads letters, digits and signs that are drawn like jamo: ㅅH77ㅣ, 시ㅂr, ㅂㅕ0신, sㅣ발.

The reading takes in more than was meant (the 1 of ㅋㅋ1등 becomes a vowel, too), so this view is
only searched in addition to the plain one, and only what it changed counts.
"""

from __future__ import annotations

import re

from kogpt_bot.moderation.hangul import is_onset, is_vowel
from kogpt_bot.moderation.normalise import Cell, View, fold, join_jamo, view_of

# After a consonant. Some are likenesses (r and ㅏ, h and ㅐ), some are how the vowel is romanised.
_VOWELS = dict(
    zip(
        "l|1!iㅣ丨rktaㅏhㅐ_-ㅡjㅓo0ㅗeu",
        "ㅣㅣㅣㅣㅣㅣㅣㅏㅏㅏㅏㅏㅐㅐㅡㅡㅡㅓㅓㅗㅗㅗㅔㅜ",
        strict=True,
    )
)
_LIKE_VOWELS = "hlrk1|!i"  # of these, the ones that are read so before a vowel is certain
# Before a vowel.
_ONSETS = dict(
    zip(
        "a^s$人入7gqbpjwzlnmkco02dスヌ大口ロ日廿甘己乙フしレ",
        "ㅅㅅㅅㅅㅅㅅㄱㄱㅂㅂㅂㅈㅈㅈㄴㄴㅁㄲㅊㅇㅇㄹㄷㅈㅈㅈㅁㅁㅂㅂㅂㄹㄹㄱㄴㄴ",
        strict=True,
    )
)
# Of these, what may stand before a likeness of a vowel.
_LIKE_ONSETS = "a^7人入スヌ大口ロ日廿甘己乙フしレ"
# After a vowel, where none follows.
_CODAS = dict(zip("o07l2znt", "ㅇㅇㄱㄹㄹㄹㄴㅅ", strict=True))
_TWINS = dict(zip("ㄱㄷㅂㅅㅈ", "ㄲㄸㅃㅆㅉ", strict=True))

# Chinese characters that are read aloud, and pictures of what they are called.
_SOUNDS = {
    "십": "十拾", "팔": "八捌", "발": "髮足👣🦶", "시": "時市シ", "씨": "氏", "견": "犬",
    "병": "病兵", "신": "身神信新臣", "년": "年", "녀": "女", "자": "子", "지": "地知支",
    "낭": "娘", "모": "母", "남": "南", "미": "尾美米", "조": "鳥", "쌍": "雙", "새": "🐦🐤🐥",
}  # fmt: skip
_READ_ALOUD = {char: sound for sound, chars in _SOUNDS.items() for char in chars}
_ALOUD = f"[{''.join(_READ_ALOUD)}]"
_GLYPH = "[人入スズヌ大口ロ日廿甘己乙フしレ]"  # drawn like consonants
_HINT = re.compile(
    rf"{_ALOUD}[가-힣{''.join(_READ_ALOUD)}]|[가-힣]{_ALOUD}|{_GLYPH}[lI1|!Hh][가-힣ㄱ-ㅎ]"
    r"|7[Hh](?=[가-힣])|[가-힣]77[lI1|!iㅣ]|"
    r"[ㄱ-ㅎ][a-zA-Z0-9|!_-]|[a-zA-Z0-9^$人入][ㅏ-ㅣ丨]|[ㄱ-ㅣ][ .,~*·/+-]{1,2}[ㅏ-ㅣ]|人[1lI|!]"
    r"|(?<![A-Za-z])A[Hhl1|!](?=[가-힣ㄱ-ㅎ0-9])|\^\^?[lI1|!Hh](?=[가-힣ㄱ-ㅎ])"
    r"|[ㅏ-ㅣ][07]|(?P<twin>[ㄱㄷㅂㅅㅈ])(?P=twin)[ㅏ-ㅣ]"
)
_MAY = re.compile(rf"[ㄱ-ㅣa-zA-Z0-9^$]|{_GLYPH}|{_ALOUD}")  # a quick look: most texts have none
_APART = re.compile(r"[ .,~*·/+-]{1,2}")


def drawn(text: str) -> View | None:
    """Return the view in which what is drawn beside jamo is read as jamo, or None without any."""
    if _MAY.search(text) is None or _HINT.search(text) is None:
        return None
    cells = _without_gaps(fold(text))
    chars = [_READ_ALOUD.get(cell[0], cell[0]) for cell in cells]
    _read_shapes(chars)
    _join_twins(chars)
    return view_of(join_jamo([(char, *cell[1:]) for char, cell in zip(chars, cells, strict=True)]))


def _without_gaps(cells: list[Cell]) -> list[Cell]:
    """Drop one or two signs between two jamo: ㅅ.ㅣ.ㅂ becomes ㅅㅣㅂ."""
    kept: list[Cell] = []
    at = 0
    while at < len(cells):
        kept.append(cells[at])
        at += 1
        if not _is_jamo(kept[-1][0]):
            continue
        for after in (at + 1, at + 2):
            gap = "".join(cell[0] for cell in cells[at:after])
            if after < len(cells) and _is_jamo(cells[after][0]) and _APART.fullmatch(gap):
                at = after
                break
    return kept


def _is_jamo(char: str) -> bool:
    return "ㄱ" <= char <= "ㅣ"


def _read_shapes(chars: list[str]) -> None:
    """Replace, in place and from left to right, what is drawn like a jamo by the jamo."""
    for at, char in enumerate(chars):
        before = chars[at - 1] if at else ""
        after = chars[at + 1] if at + 1 < len(chars) else ""
        vowel_like = is_vowel(after) or (after != "" and after in _LIKE_VOWELS)
        if is_onset(before) and char in _VOWELS:
            chars[at] = _VOWELS[char]
        elif is_vowel(before) and char in _CODAS and not vowel_like:
            chars[at] = _CODAS[char]
        elif char in _ONSETS and (is_vowel(after) or (char in _LIKE_ONSETS and vowel_like)):
            chars[at] = _ONSETS[char]
        elif char == after == "7":
            chars[at] = "ㄱ"


def _join_twins(chars: list[str]) -> None:
    """Make one consonant, in place, of two before a vowel: ㅅㅅㅣ is 씨."""
    for at in range(len(chars) - 2):
        if chars[at] in _TWINS and chars[at] == chars[at + 1] and is_vowel(chars[at + 2]):
            chars[at], chars[at + 1] = "", _TWINS[chars[at + 1]]
