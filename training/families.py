"""Families of dialogues: each line of a dialogue in many wordings, with words to fill in.

`dialogues/families*.txt` have a family a paragraph. `>` is what a person says (`>2` and `>3` what
others say in the same room), `<` what the bot answers, `|` parts the wordings. `{음식}` and the
like become a word of that kind (`dialogues/words*.txt`), the same through the whole dialogue;
`{음식2}` becomes another one. `{은}`, `{이라니}` and the like become the form that fits the word
before. `{user}` is the person's name.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.templates import Turns, with_particles

# A model of this size calls people by names that it makes up: it is not taught to use them.
NAME = "{user}"
FOLDER = Path(__file__).parent / "dialogues"
BOT = "봇"
SPEAKERS = {">": "0", ">2": "1", ">3": "2", "<": BOT}
_LINE = re.compile(r"(>[23]?|<) (.+)")
_SLOT = re.compile(r"\{([가-힣]+?)(2?)\}")
# Their 이 falls after a vowel, and 이었 becomes 였; 이에요 and 이랑 are particles of their own.
_COPULA = re.compile(r"(.)\{이(?!에요\}|랑\})(었?)([가-힣]*)\}")


def words(folder: Path = FOLDER) -> dict[str, tuple[str, ...]]:
    """Return kind -> words of `kind: word, word` lines; ValueError for any other line."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.glob("words*.txt")):
        for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not row.strip() or row.startswith("#"):
                continue
            kind, colon, rest = row.partition(":")
            listed = tuple(dict.fromkeys(each.strip() for each in rest.split(",") if each.strip()))
            if not colon or len(listed) < 2:
                raise ValueError(f"{path.name}:{number}: `kind: word, word` is expected")
            if kind in found:
                raise ValueError(f"{path.name}:{number}: {kind} is there already")
            found[kind] = listed
    return found


WORDS = words()


@dataclass(frozen=True, slots=True)
class Family:
    """Lines in turn, a person's first and the bot's last: who speaks, and the wordings."""

    speakers: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def dialogue(self, rng: random.Random) -> Turns:
        """Return one dialogue of it, whole or up to one of the bot's answers."""
        ends = [at + 1 for at, who in enumerate(self.speakers) if who == BOT]
        count = rng.choice(ends) if rng.random() < 0.5 else len(self.lines)
        chosen: dict[str, list[str]] = {}

        def fill(match: re.Match[str]) -> str:
            kind, other = match.groups()
            if kind not in WORDS:
                return match.group(0)  # a particle
            pair = chosen.setdefault(kind, rng.sample(WORDS[kind], 2))
            return pair[1 if other else 0]

        told = zip(self.speakers[:count], self.lines[:count], strict=True)
        drawn = [(who, rng.choices(any_of, _shares(who, len(any_of)))[0]) for who, any_of in told]
        return [(who, _particles(_SLOT.sub(fill, text))) for who, text in drawn]


def _shares(who: str, count: int) -> list[float]:
    """Return how often each wording is told: a person's all alike, of the bot's the first most.

    What is answered often is learned soonest, and a second answer to the same is a luxury.
    """
    return [0.25**n if who == BOT else 1.0 for n in range(count)]


def _particles(text: str) -> str:
    def fit(match: re.Match[str]) -> str:
        before, past, rest = match.groups()
        closed = (ord(before) - 0xAC00) % 28 if "가" <= before <= "힣" else 1
        if not past and not rest:
            return match.group(0)  # {이}, the particle
        if closed:
            return f"{before}이{past}{rest}"
        return f"{before}{'였' if past else ''}{rest}"

    return with_particles(_COPULA.sub(fit, text))


def families(folder: Path = FOLDER) -> list[Family]:
    """Read all families; ValueError for a paragraph that is not well formed."""
    return [
        family
        for path in sorted(folder.glob("families*.txt"))
        for paragraph in path.read_text(encoding="utf-8").strip().split("\n\n")
        for family in _family(paragraph.strip().split("\n"), path.name)
    ]


def _family(rows: list[str], file: str) -> Iterator[Family]:
    matches = [_LINE.fullmatch(row.strip()) for row in rows]
    if not all(matches):
        raise ValueError(f"{file}: a line is `> ..`, `>2 ..`, `>3 ..` or `< ..`: {rows[0]}")
    marks = [match.group(1) for match in matches if match]
    pairs = itertools.pairwise(marks)
    if marks[0] == "<" or marks[-1] != "<" or ("<", "<") in pairs:
        raise ValueError(f"{file}: a person begins, the bot ends, and never twice: {rows[0]}")
    wordings = [
        tuple(part.strip() for part in match.group(2).split("|") if NAME not in part)
        for match in matches
        if match
    ]
    if unknown := {k for line in rows for k, _ in _SLOT.findall(line)} - WORDS.keys() - PARTICLES:
        raise ValueError(f"{file}: no such kind: {', '.join(sorted(unknown))}: {rows[0]}")
    if all(wordings):  # every line has a wording that calls nobody by name
        yield Family(tuple(SPEAKERS[mark] for mark in marks), tuple(wordings))


PARTICLES = {"을", "이", "은", "과", "아", "이에요", "이랑", "으로"} | {
    f"이{rest}"
    for rest in ("라니", "군요", "야", "죠", "요", "잖아요", "라고", "네요", "네", "다", "었어")
}
