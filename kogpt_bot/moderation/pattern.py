"""The small pattern language of the lexicon, and how its forms are matched.

A form is a sequence of slots, one syllable each:

    씨          this syllable
    [씨시쉬]     one of these
    <ㅅㅆ/ㅣㅟ/>  every syllable with one of these onsets, one of these vowels and one of these
                codas; `-` among the codas means none, and no codas at all means none, too
    끼?         the slot before may be absent
    (a space)   spaces are natural here, so they are no disguise

A syllable with a coda also matches with the coda split off (바ㄹ for 발). A slot takes what it can
and nothing is tried twice, so matching at one place takes bounded time. The forms are not regular
expressions: to compile a thousand of them would take seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from kogpt_bot.moderation.hangul import compose, decompose, is_syllable

MAX_GAP = 6  # characters between two syllables; more is another word
_SURE = 3  # a disguised form of so many syllables is no accident, wherever it begins
# What may stand between two syllables of a disguised word.
_TIGHT = re.compile(rf"[^가-힣\s]{{0,{MAX_GAP}}}+")
_JAMO_TIGHT = re.compile(r"[^가-힣ㄱ-ㅎ\s]{0,3}+")  # another initial is another word
# ... with spaces, but for the end of a clause: "존, 나 왔어" is no disguise.
# ... or a number that something is counted with: 쏴 8발.
_COUNT = r"[^가-힣\s]{0,3}\s[^가-힣\s]{0,2}\d{1,4}[가-힣]"
_SPACED = re.compile(rf"(?![,.!?;:]\s|{_COUNT})[^가-힣]{{0,{MAX_GAP}}}+")
_JAMO_SPACED = re.compile(r"(?![,.!?;:]\s)[^가-힣ㄱ-ㅎ]{0,3}+")
_APART = re.compile(rf"(?![,.!?;:]\s|{_COUNT})[^가-힣]{{1,{MAX_GAP}}}+")  # each syllable on its own
# A disguise begins where a word begins, or after one of these.
_LEFT_EDGE = re.compile(r"(?<![가-힣a-z0-9])|(?<=[개씹쌍왜아야와진어에이그저니네오하])")
_LEFT_OF_SPACED = re.compile(r"(?<![가-힣a-z0-9])")
_RIGHT_OF_SPACED = re.compile(
    r"(?=[^가-힣]|$|[아야이은는을를도들네임인의][^가-힣]|[아야이네]?$|[놈년같새])"
)
_ANYWHERE = re.compile("")


class PatternError(ValueError):
    """A form of the lexicon cannot be read."""


@dataclass(frozen=True)
class Slot:
    """One syllable of a form, or a natural space (no choices)."""

    choices: frozenset[str]
    optional: bool = False

    @property
    def is_space(self) -> bool:
        """Whether this stands for spaces between two words."""
        return not self.choices

    @cached_property
    def ways(self) -> frozenset[str]:
        """Every spelling of the slot: a choice, or one with its coda split off."""
        return self.choices | {opened + coda for opened, coda in self.opened()}

    def opened(self) -> Iterator[tuple[str, str]]:
        """Yield each choice with its coda split off."""
        for choice in sorted(self.choices):
            if is_syllable(choice):
                onset, vowel, coda = decompose(choice)
                if coda:
                    yield compose(onset, vowel), coda


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


@dataclass(frozen=True, slots=True)
class Way:
    """One way to disguise a word: where it may begin, what may be put in, where it may end."""

    left: re.Pattern[str]
    gap: re.Pattern[str]
    right: re.Pattern[str]
    spaces: bool = False  # whether spaces may be put in

    def end(self, syllables: tuple[Slot, ...], text: str, start: int) -> int | None:
        """Return where the word ends that begins at `start`, or None."""
        if not self.left.match(text, start):
            return None
        at = gap_at = next_at = start
        for slot in syllables:
            ways = slot.ways
            if text[next_at : next_at + 1] in ways:
                at = next_at + 1
            elif text[next_at : next_at + 2] in ways:
                at = next_at + 2
            elif (letter := _first_letter(text, gap_at, next_at)) and text[letter] in ways:
                at = letter + 1  # taken for something put in: the b of 시1bal
            elif not slot.optional:
                return None
            put_in = self.gap.match(text, at)
            gap_at, next_at = put_in.span() if put_in else (len(text), len(text))
        return at if self.right.match(text, at) else None


def _first_letter(text: str, start: int, end: int) -> int:
    """Return where the first letter or jamo stands between two places, or 0."""
    return next((at for at in range(start, end) if text[at].isalpha()), 0)


def plain_end(slots: tuple[Slot, ...], text: str, start: int) -> int | None:
    """Return where a form ends that stands at `start` with nothing put in, or None."""
    at = start
    for slot in slots:
        ways = slot.ways
        if text[at : at + 1] in ways:
            at += 1
        elif text[at : at + 2] in ways:
            at += 2
        elif not ways:  # a natural space
            at += text.startswith(" ", at)
            at += text.startswith(" ", at)
        elif not slot.optional:
            return None
    return at


def following(slots: tuple[Slot, ...]) -> tuple[frozenset[str], ...]:
    """Return, for each number of syllables read, the characters that may come next."""
    syllables = [slot for slot in slots if not slot.is_space]
    starts = [frozenset(way[0] for way in slot.ways) for slot in syllables]
    if any(slot.optional for slot in syllables):
        return (frozenset().union(*starts),) * len(syllables)
    return tuple(starts)


def disguises(slots: tuple[Slot, ...], *, gaps: str) -> tuple[Way, ...]:
    """Return the ways to put something into a form; `gaps` is as in the lexicon."""
    syllables = [slot for slot in slots if not slot.is_space]
    if gaps == "none" or len(syllables) < 2:
        return ()
    initials = any(all("ㄱ" <= c <= "ㅎ" for c in slot.choices) for slot in syllables)
    sure = sum(not slot.optional for slot in syllables) >= _SURE
    ways = [Way(_ANYWHERE if sure else _LEFT_EDGE, _JAMO_TIGHT if initials else _TIGHT, _ANYWHERE)]
    if gaps == "spaced":
        spaced = _JAMO_SPACED if initials else _SPACED
        ways.append(Way(_LEFT_OF_SPACED, spaced, _RIGHT_OF_SPACED, spaces=True))
    elif sure and not initials:
        ways.append(Way(_LEFT_OF_SPACED, _APART, _RIGHT_OF_SPACED, spaces=True))
    return tuple(ways)


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
