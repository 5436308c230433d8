"""Undo what people do to a word to hide it, and remember where each character came from.

Every character is folded on its own (compatibility forms, full width, accents, look-alikes), so
the work is linear and no input can grow without bound; jamo are then joined to syllables and
drawn-out vowels shortened. What is put *between* the syllables of a word is left in place: the
patterns step over it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from kogpt_bot.moderation.hangul import (
    CHOSEONG,
    JONGSEONG,
    JUNGSEONG,
    compose,
    compose_pieces,
    decompose,
    is_onset,
    is_syllable,
    is_vowel,
)

MAX_RUN = 2  # of one sign inside a word; the rest is dropped when drawn-out words are shortened
MAX_FOLD = 4  # characters that one character may become; U+FDFA would become 18

# Characters drawn like a jamo; they are read so beside a jamo, or as ㅅ or ㅈ before a syllable.
_LOOK_ALIKES = {
    **dict.fromkeys("人入ㅅ⋀∧ΛɅʌᐱ", "ㅅ"),
    **dict.fromkeys("丨｜│┃∣ǀ", "ㅣ"),
    **dict.fromkeys("卜トト├┣", "ㅏ"),
    **dict.fromkeys("┤┫", "ㅓ"),
    **dict.fromkeys("エ工┴⊥丄", "ㅗ"),
    **dict.fromkeys("丁丅┬┳", "ㅜ"),
    **dict.fromkeys("一ー―—", "ㅡ"),
    **dict.fromkeys("己乙", "ㄹ"),
    **dict.fromkeys("口ロ", "ㅁ"),
    **dict.fromkeys("日廿ㅸ甘", "ㅂ"),
    **dict.fromkeys("スヌ大", "ㅈ"),
    **dict.fromkeys("フ", "ㄱ"),
    **dict.fromkeys("しレ", "ㄴ"),
}
_CONFUSABLE = {
    **dict(zip("асеорхукιοαενυтвнмѕіһјԁцƒ∪", "aceopxykioaevutbhmsihjdufu", strict=True)),
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True)),
    # white letters on black, and those that flags are made of
    **{
        chr(first + at): letter
        for first in (0x1F150, 0x1F170, 0x1F1E6)
        for at, letter in enumerate("abcdefghijklmnopqrstuvwxyz")
    },
}
# Read as a vowel only between a lone consonant and a syllable: ㅅ1발, ㅈl랄.
_VOWEL_LIKE = {
    **dict.fromkeys("l|1!iㅣ", "ㅣ"),
    "h": "ㅐ",
    "t": "ㅏ",
    "k": "ㅏ",
    "_": "ㅡ",
    "-": "ㅡ",
}
_TAILS = {  # the vowel that a drawn-out syllable may go on with, besides its own
    "ㅐ": "ㅔ", "ㅔ": "ㅐ", "ㅑ": "ㅏ", "ㅕ": "ㅓ", "ㅛ": "ㅗ", "ㅠ": "ㅜ", "ㅘ": "ㅏ", "ㅝ": "ㅓ",
    "ㅟ": "ㅣ", "ㅢ": "ㅣ", "ㅖ": "ㅔ", "ㅞ": "ㅔ", "ㅙ": "ㅐ", "ㅚ": "ㅔ", "ㅒ": "ㅐ",
}  # fmt: skip

_CONSONANTS = "ㄱ-ㅎ"
_NEEDS_FOLD = re.compile(
    r"[^\x00-@\[-~가-힣ㄱ-ㅣ"
    r"…·“”‘’♥♡★☆○●□■◇◆→←↑↓※「」『』《》〈〉\U0001F300-\U0001FAFF"
    r"\u3041-\u3044\u4e03-\u4e2f\u4e32-\u4eb9]"
    rf"|[{_CONSONANTS}](?=[ㅏ-ㅣ|l1!iht_k-])|\^(?=[\^ㅏ-ㅣ])|/\\"
    r"|[가-힣](?=[ㅏ-ㅣ])"
)


def _elongation() -> re.Pattern[str]:
    """Build the pattern that finds a syllable without coda followed by its own vowel."""
    behind = []
    for vowel in JUNGSEONG:
        opens = "".join(compose(onset, vowel) for onset in CHOSEONG)
        tails = {vowel, _TAILS.get(vowel, vowel)}
        goes_on = "".join(compose("ㅇ", tail, coda) for tail in tails for coda in JONGSEONG)
        behind.append(f"(?<=[{opens}][{goes_on}])")
    # ... or a long run of one sign inside a word: 시ㅋㅋㅋㅋㅋㅋ발
    run = rf"(?P<sign>[^가-힣\s])(?<=[가-힣].)(?P=sign){{{MAX_RUN},}}+(?=[가-힣])"
    return re.compile(f"[아-잏](?:{'|'.join(behind)})|[ㅏ-ㅣ](?<=[가-힣].)|{run}")


_ELONGATED = _elongation()


Cell = tuple[str, int, int]  # one character, where it began, where it ended


@dataclass(frozen=True, slots=True)
class View:
    """A normalised text; character `i` was `[starts[i], ends[i])` of the original."""

    text: str
    starts: tuple[int, ...] | None = None  # None: character for character the original
    ends: tuple[int, ...] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Map a span of the view, not empty, to the original."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]

    def altered(self, start: int, end: int) -> bool:
        """Whether a span of the view was of another length in the original: joined, shortened."""
        low, high = self.span(start, end)
        return high - low != end - start


def normalise(text: str) -> View:
    """Return the view of `text` that the Hangul and Latin patterns are made for."""
    lowered = text if text.islower() or not text.isascii() else text.lower()
    if _NEEDS_FOLD.search(lowered) is None:
        return View(lowered)
    return view_of(join_jamo(fold(text)))


def shortened(view: View) -> View | None:
    """Return `view` with drawn-out syllables shortened, or None when it has none."""
    if _ELONGATED.search(view.text) is None:
        return None
    starts = view.starts or range(len(view.text))
    ends = view.ends or range(1, len(view.text) + 1)
    return view_of(_shorten(list(zip(view.text, starts, ends, strict=True))))


def view_of(cells: list[Cell]) -> View:
    """Make the view that the cells spell."""
    return View(
        "".join([cell[0] for cell in cells]),
        tuple([cell[1] for cell in cells]),
        tuple([cell[2] for cell in cells]),
    )


@lru_cache(maxsize=4096)
def _fold_char(char: str) -> str:
    """Fold one character; the empty string for one that cannot be seen."""
    if is_syllable(char) or "ㄱ" <= char <= "ㅣ":
        return char
    unseen = unicodedata.category(char) in {"Cf", "Mn", "Me", "Cc"} and char not in "\n\t\r"
    if unseen or char in "\u115f\u1160\u3164\uffa0":  # the last four are Hangul fillers
        return ""
    code = ord(char)
    if 0x1100 <= code <= 0x11FF:
        return _conjoining(char)
    if 0xFFA1 <= code <= 0xFFDC:
        return _conjoining(unicodedata.normalize("NFKC", char))
    folded = unicodedata.normalize("NFKD", char).casefold()[:MAX_FOLD]
    folded = "".join(c for c in folded if not unicodedata.combining(c))
    folded = "".join(_CONFUSABLE.get(c, c) for c in folded) or char
    if any(0x1100 <= ord(c) <= 0x11FF for c in folded):  # a syllable in a circle, in brackets
        return "".join(map(_conjoining, unicodedata.normalize("NFC", folded)))
    return folded


def _conjoining(char: str) -> str:
    """Map a conjoining jamo to the compatibility jamo of the same shape."""
    code = ord(char)
    if 0x1100 <= code <= 0x1112:
        return CHOSEONG[code - 0x1100]
    if 0x1161 <= code <= 0x1175:
        return JUNGSEONG[code - 0x1161]
    if 0x11A8 <= code <= 0x11C2:
        return JONGSEONG[code - 0x11A7]
    return char


def fold(text: str) -> list[Cell]:
    """Fold every character on its own; each keeps its place in the original."""
    cells: list[Cell] = []
    for at, char in enumerate(text):
        for folded in _fold_char(char):
            cells.append((folded, at, at + 1))
    return cells


def join_jamo(cells: list[Cell]) -> list[Cell]:
    """Join jamo (and what is drawn like a vowel after a consonant) to syllables."""
    chars = [cell[0] for cell in cells]
    _read_drawings(chars)
    joined: list[Cell] = []
    at = start = 0
    for piece, used in compose_pieces(chars):
        if piece:  # a drawing of two characters leaves an empty one before it
            joined.append((piece, cells[start][1], cells[at + used - 1][2]))
            start = at + used
        at += used
    return joined


def _read_drawings(chars: list[str]) -> None:
    """Replace, in place, ^ and /\\ before a vowel and 1 l | ! after a consonant by jamo."""
    for at in range(len(chars)):
        drawn = _LOOK_ALIKES.get(chars[at])
        if drawn and (_jamo_at(chars, at - 1) or _jamo_at(chars, at + 1)):
            chars[at] = drawn
    for at in range(len(chars) - 1):
        char, after = chars[at], chars[at + 1]
        if char == "^" and (is_vowel(after) or after == "ㅅ"):
            chars[at] = "ㅅ"
        elif (char == "^" and after == "^" and at + 2 < len(chars) and is_vowel(chars[at + 2])) or (
            char == "/" and after == "\\" and at + 2 < len(chars)
        ):
            chars[at], chars[at + 1] = "", "ㅅ"
        elif (
            after in _VOWEL_LIKE
            and is_onset(char)
            and not (at and is_vowel(chars[at - 1]))  # a coda: ㅂㅕㅇ1신
            and _syllable_follows(chars, at + 2)
        ):
            chars[at + 1] = _VOWEL_LIKE[after]


def _jamo_at(chars: list[str], at: int) -> bool:
    """Whether a jamo, or something drawn like a vowel stroke, stands there."""
    return 0 <= at < len(chars) and ("ㄱ" <= chars[at] <= "ㅣ" or chars[at] in "丨｜│┃∣ǀ卜ト")


def _syllable_follows(chars: list[str], at: int) -> bool:
    if at >= len(chars) or not chars[at]:
        return False
    if is_syllable(chars[at]):
        return True
    after = chars[at + 1] if at + 1 < len(chars) else ""
    return is_onset(chars[at]) and after != "" and (is_vowel(after) or after in _VOWEL_LIKE)


def _shorten(cells: list[Cell]) -> list[Cell]:
    """Shorten drawn-out syllables: 씨이이발 and 씨ㅣㅣ발 to 씨발, 조오온나 to 존나."""
    short: list[Cell] = []
    run = 0  # how often the last sign has stood here
    for char, start, end in cells:
        run = run + 1 if short and char == short[-1][0] and not is_syllable(char) else 0
        if run >= MAX_RUN:
            short[-1] = (char, short[-1][1], end)
            continue
        if short and is_syllable(short[-1][0]):
            last, last_start, _ = short[-1]
            onset, vowel, coda = decompose(last)
            if not coda and (char == vowel or char == _TAILS.get(vowel)):
                short[-1] = (last, last_start, end)
                continue
            if not coda and is_syllable(char):
                next_onset, next_vowel, next_coda = decompose(char)
                if next_onset == "ㅇ" and next_vowel in (vowel, _TAILS.get(vowel)):
                    short[-1] = (compose(onset, vowel, next_coda), last_start, end)
                    continue
        short.append((char, start, end))
    return short
