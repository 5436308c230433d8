"""Korean particles that follow the sound before them: 민수는, 지은은, GPT가, 100은, 서울로.

The end of a name is taken as Koreans read it: Hangul by its final consonant, digits as numbers
(10 is 십), Latin letters by an English word's usual reading, capitals one by one. Symbols and
emoji after it are not read. Where nothing is known, both forms are given: 🐱은(는).
"""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass


class _End(enum.Enum):
    """How a name ends when it is read aloud."""

    VOWEL = enum.auto()
    RIEUL = enum.auto()  # ㄹ is a consonant to all particles but 으로/로
    CONSONANT = enum.auto()
    UNKNOWN = enum.auto()


@dataclass(frozen=True, slots=True)
class _Forms:
    consonant: str
    vowel: str
    both: str


class Particle(enum.Enum):
    """A pair of forms: after a consonant, after a vowel, and both for what is not known."""

    TOPIC = _Forms("은", "는", "은(는)")
    SUBJECT = _Forms("이", "가", "이(가)")
    OBJECT = _Forms("을", "를", "을(를)")
    AND = _Forms("과", "와", "과(와)")
    TO = _Forms("으로", "로", "(으)로")
    CALL = _Forms("아", "야", "아(야)")
    IS = _Forms("이에요", "예요", "이에요(예요)")


_FIRST_SYLLABLE, _LAST_SYLLABLE, _FINALS, _RIEUL = 0xAC00, 0xD7A3, 28, 8  # Unicode 3.12
_ZEROS = (  # how a number ends that ends in this many zeros: 십 백 천 만 억 조 경
    (16, _End.CONSONANT), (12, _End.VOWEL), (8, _End.CONSONANT), (4, _End.CONSONANT),
    (1, _End.CONSONANT),
)  # fmt: skip
_DIGITS = {
    "0": _End.CONSONANT,  # 영
    "1": _End.RIEUL,
    "2": _End.VOWEL,
    "3": _End.CONSONANT,
    "4": _End.VOWEL,
    "5": _End.VOWEL,
    "6": _End.CONSONANT,
    "7": _End.RIEUL,
    "8": _End.RIEUL,
    "9": _End.VOWEL,
}
_LETTERS = {"L": _End.RIEUL, "R": _End.RIEUL, "M": _End.CONSONANT, "N": _End.CONSONANT}
# Of an English word: 폴, 톰, 킹, 잭, 봇 and 제인, 니콜; but 마크, 로버트, 앨리스.
_ENGLISH = (
    (re.compile(r"le?$"), _End.RIEUL),
    (re.compile(r"([mn]|ng)$|[aeiouy][mn]+e$"), _End.CONSONANT),
    (re.compile(r"(ck|[aeiou][bckpt])$"), _End.CONSONANT),
)
_LATIN = re.compile(r"[A-Za-z]+$")
_NUMBER = re.compile(r"(?P<fraction>[0-9][.,](?![0-9]{3}$))?[0-9]+(,[0-9]{3})*$")


def with_particle(name: str, particle: Particle) -> str:
    """Return `name` with the form of the particle that it asks for."""
    forms, end = particle.value, _end(name)
    if end is _End.UNKNOWN:
        return f"{name}{forms.both}"
    if end is _End.VOWEL or (end is _End.RIEUL and particle is Particle.TO):
        return f"{name}{forms.vowel}"
    return f"{name}{forms.consonant}"


def _end(name: str) -> _End:
    read = unicodedata.normalize("NFC", name)
    while read and not _is_read(read[-1]):
        read = read[:-1]
    if not read:
        return _End.UNKNOWN
    last = ord(read[-1])
    if _FIRST_SYLLABLE <= last <= _LAST_SYLLABLE:
        final = (last - _FIRST_SYLLABLE) % _FINALS
        return _End.VOWEL if not final else _End.RIEUL if final == _RIEUL else _End.CONSONANT
    plain = unicodedata.normalize("NFKD", read)  # é is read as e, １ as 1
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    if number := _NUMBER.search(plain):
        return _number(number)
    if word := _LATIN.search(plain):
        return _latin(word[0])
    return _End.UNKNOWN


def _is_read(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _number(match: re.Match[str]) -> _End:
    digits = match[0].replace(",", "")
    zeros = len(digits) - len(digits.rstrip("0"))
    if zeros == len(digits) or match["fraction"] or not zeros:  # 0.10 is read digit by digit
        return _DIGITS[digits[-1]]
    return next(end for least, end in _ZEROS if zeros >= least)


def _latin(word: str) -> _End:
    vowels = set("AEIOU") & set(word)
    if word.isupper() and (len(word) <= 3 or not vowels):  # GPT, LLM: letter by letter
        return _LETTERS.get(word[-1], _End.VOWEL)
    if len(word) == 1:
        return _LETTERS.get(word.upper(), _End.VOWEL)
    return next((end for rule, end in _ENGLISH if rule.search(word.lower())), _End.VOWEL)
