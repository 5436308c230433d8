"""Families of dialogues: each line of a dialogue in many wordings, with words to fill in.

`dialogues/families.txt` has a family a paragraph. `>` is what a person says, `<` what the bot
answers, `|` parts the wordings. `{음식}` and the like become a word of that kind, the same through
the whole dialogue; `{음식2}` becomes another one. `{user}` is the person's name.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

from training import templates
from training.templates import Turns, with_particles

# A model of this size calls people by names that it makes up: it is not taught to use them.
NAME = "{user}"
FILE = Path(__file__).parent / "dialogues" / "families.txt"
WORDS: dict[str, tuple[str, ...]] = {
    "음식": templates.FOODS,
    "간식": templates.SNACKS,
    "음료": templates.DRINKS,
    "취미": templates.HOBBIES,
    "과목": templates.SUBJECTS,
    "동물": templates.ANIMALS,
    "곳": templates.PLACES,
    "장르": templates.GENRES,
    "음악": templates.MUSIC,
    "애칭": (
        "보리",
        "두부",
        "초코",
        "구름",
        "뭉치",
        "나비",
        "까미",
        "콩이",
        "몽실",
        "호두",
        "감자",
        "별이",
    ),
    "이름": (
        "지훈",
        "민지",
        "서연",
        "도윤",
        "하은",
        "준우",
        "유나",
        "태호",
        "소라",
        "은지",
        "현수",
        "미나",
    ),
}
_SLOT = re.compile(r"\{([가-힣]+?)(2?)\}")
_COPULA = re.compile(r"(.)\{이(라니|군요|야|죠|요|잖아요|라고)\}")  # the 이 falls after a vowel


@dataclass(frozen=True, slots=True)
class Family:
    """Lines in turn, the person's first; each has one wording at least."""

    lines: tuple[tuple[str, ...], ...]

    def dialogue(self, rng: random.Random) -> Turns:
        """Return one dialogue of it, whole or up to one of the bot's answers."""
        count = rng.randrange(2, len(self.lines) + 1, 2) if rng.random() < 0.3 else len(self.lines)
        chosen: dict[str, list[str]] = {}

        def fill(match: re.Match[str]) -> str:
            kind, other = match.groups()
            if kind not in WORDS:
                return match.group(0)  # a particle
            pair = chosen.setdefault(kind, rng.sample(WORDS[kind], 2))
            return pair[1 if other else 0]

        return [
            ("봇" if at % 2 else "나", _particles(_SLOT.sub(fill, rng.choice(wordings))))
            for at, wordings in enumerate(self.lines[:count])
        ]


def _particles(text: str) -> str:
    def fit(match: re.Match[str]) -> str:
        before, rest = match.groups()
        return before + ("이" if (ord(before) - 0xAC00) % 28 else "") + rest

    return with_particles(_COPULA.sub(fit, text))


def families(path: Path = FILE) -> list[Family]:
    """Read all families; ValueError for a paragraph that is not `>` and `<` in turn."""
    found = []
    for paragraph in path.read_text(encoding="utf-8").strip().split("\n\n"):
        rows = paragraph.strip().split("\n")
        marks = "".join(row[:1] for row in rows)
        if marks != "><" * (len(rows) // 2):
            raise ValueError(f"person and bot must alternate: {rows[0]}")
        lines = tuple(tuple(part.strip() for part in row[1:].split("|")) for row in rows)
        nameless = tuple(tuple(each for each in line if NAME not in each) for line in lines)
        if all(nameless):
            found.append(Family(nameless))
    return found
