"""The small pattern language of the lexicon, and its translation to regular expressions.

A form is a sequence of slots, one syllable each:

    씨          this syllable
    [씨시쉬]     one of these
    <ㅅㅆ/ㅣㅟ/>  every syllable with one of these onsets, one of these vowels and one of these
                codas; `-` among the codas means none, and no codas at all means none, too
    끼?         the slot before may be absent
    (a space)   spaces are natural here, so they are no disguise

A syllable with a coda also matches with the coda split off (바ㄹ for 발). Every quantifier is
bounded and every gap possessive, so matching at one place takes bounded time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kogpt_bot.moderation.hangul import compose, decompose, is_syllable

MAX_GAP = 6  # characters between two syllables; more is another word
_SURE = 3  # a disguised form of so many syllables is no accident, wherever it begins
# What may stand between two syllables of a disguised word.
_GAP = rf"[^가-힣\s]{{0,{MAX_GAP}}}+"
_JAMO_GAP = r"[^가-힣ㄱ-ㅎ\s]{0,3}+"  # between initials, another initial is another word
# ... with spaces, but for the end of a clause: "존, 나 왔어" is no disguise.
_SPACED = rf"(?![,.!?;:]\s)[^가-힣]{{0,{MAX_GAP}}}+"
_JAMO_SPACED = r"(?![,.!?;:]\s)[^가-힣ㄱ-ㅎ]{0,3}+"
_APART = rf"(?![,.!?;:]\s)[^가-힣]{{1,{MAX_GAP}}}+"  # each syllable on its own
# A disguise begins where a word begins, or after one of these.
_LEFT_EDGE = r"(?:(?<![가-힣a-z0-9])|(?<=[개씹쌍왜아야와진어에이그저니네]))"
_LEFT_OF_SPACED = r"(?<![가-힣a-z0-9])"
_RIGHT_OF_SPACED = r"(?=[^가-힣]|$|[아야이은는을를도들네임인의][^가-힣]|[아야이네]?$|[놈년같새])"


class PatternError(ValueError):
    """A form of the lexicon cannot be read."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One syllable of a form, or a natural space (no choices)."""

    choices: frozenset[str]
    optional: bool = False

    @property
    def is_space(self) -> bool:
        """Whether this stands for spaces between two words."""
        return not self.choices

    def regex(self) -> str:
        """Return the expression for this slot alone."""
        if self.is_space:
            return r"[ ]{0,2}+"
        body = _class(self.choices)
        split: dict[str, list[str]] = {}
        for opened, coda in self.opened():
            split.setdefault(coda, []).append(opened)
        if split:
            rest = "|".join(f"{_class(frozenset(open_))}{coda}" for coda, open_ in split.items())
            body = f"(?:{body}|{rest})"
        return f"{body}?+" if self.optional else body

    def opened(self) -> Iterator[tuple[str, str]]:
        """Yield each choice with its coda split off."""
        for choice in sorted(self.choices):
            if is_syllable(choice):
                onset, vowel, coda = decompose(choice)
                if coda:
                    yield compose(onset, vowel), coda


def _class(choices: frozenset[str]) -> str:
    ordered = "".join(sorted(choices))
    return re.escape(ordered) if len(ordered) == 1 else f"[{re.escape(ordered)}]"


_TOKEN = re.compile(r"<([^/>]*)/([^/>]*)/([^>]*)>(\??)|\[([^\]]+)\](\??)|([^<>\[\]?$])(\??)")


def parse(form: str) -> tuple[Slot, ...]:
    """Read one form; raises PatternError."""
    slots: list[Slot] = []
    at = 0
    while at < len(form):
        token = _TOKEN.match(form, at)
        if token is None:
            raise PatternError(f"cannot read {form!r} at {form[at:]!r}")
        at = token.end()
        onsets, vowels, codas, q1, listed, q2, single, q3 = token.groups()
        if single == " ":
            slots.append(Slot(frozenset()))
            continue
        slots.append(Slot(_choices(onsets, vowels, codas, listed, single), bool(q1 or q2 or q3)))
    if not slots or slots[0].optional or slots[0].is_space:
        raise PatternError(f"{form!r} must begin with a syllable that is always there")
    return tuple(slots)


def _choices(
    onsets: str | None, vowels: str | None, codas: str | None, listed: str | None, single: str
) -> frozenset[str]:
    if onsets is None or vowels is None or codas is None:
        return frozenset(listed or single)
    ends = [("" if coda == "-" else coda) for coda in codas] or [""]
    try:
        return frozenset(compose(o, v, c) for o in onsets for v in vowels for c in ends)
    except KeyError as error:
        raise PatternError(f"no such jamo in <{onsets}/{vowels}/{codas}>: {error}") from None


def expression(form: str, *, gaps: str) -> str:
    """Translate a form: as it stands, or with something put in; `gaps` as in the lexicon."""
    slots = parse(form)
    ways = [_join(slots, "")]
    syllables = [slot for slot in slots if not slot.is_space]
    if gaps == "none" or len(syllables) < 2:
        return ways[0]
    initials = any(all("ㄱ" <= c <= "ㅎ" for c in slot.choices) for slot in syllables)
    tight, spaced = (_JAMO_GAP, _JAMO_SPACED) if initials else (_GAP, _SPACED)
    sure = sum(not slot.optional for slot in syllables) >= _SURE
    edge = "" if sure else _LEFT_EDGE
    ways.append(edge + _join(slots, tight))
    if gaps == "spaced":
        ways.append(_LEFT_OF_SPACED + _join(slots, spaced) + _RIGHT_OF_SPACED)
    elif sure and not initials:
        ways.append(_LEFT_OF_SPACED + _join(slots, _APART) + _RIGHT_OF_SPACED)
    return f"(?:{'|'.join(ways)})"


def openings(form: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of characters with which a match begins, fillers between them left out.

    The second is empty where the first alone may be the match.
    """
    slots = [slot for slot in parse(form) if not slot.is_space]
    seconds: set[str] = set()
    for slot in slots[1:]:
        seconds |= slot.choices | {opened for opened, _ in slot.opened()}
        if not slot.optional:
            break
    else:
        seconds.add("")
    for first in slots[0].choices:
        yield from ((first, second) for second in seconds)
    yield from slots[0].opened()


def _join(slots: tuple[Slot, ...], gap: str) -> str:
    parts = [slots[0].regex()]
    for slot in slots[1:]:
        if slot.is_space:
            parts.append(slot.regex() if not gap else "")
        elif slot.optional and gap:
            parts.append(f"(?:{gap}{slot.regex().removesuffix('?+')})?+")
        else:
            parts.append(gap + slot.regex())
    return "".join(parts)
