"""What a set of answers is like: how varied, how often profane, how often learned by heart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from kogpt_bot.moderation.detector import Detector

LONG = 60  # characters: a training line of this length in an answer was learned by heart


def distinct_2(answers: Sequence[str]) -> float:
    """Return the share of different pairs of neighbouring words (Li et al. 2016, distinct-2)."""
    pairs = [pair for answer in answers for pair in _pairs(answer.split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _pairs(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    return itertools.pairwise(words)


def profane(answers: Sequence[str]) -> list[str]:
    """Return the answers that our own detector calls profane."""
    detector = Detector.default()
    return [answer for answer in answers if detector.is_profane(answer)]


def learned_by_heart(answers: Sequence[str], lines: Iterable[str]) -> list[str]:
    """Return the answers that hold a whole piece of `LONG` characters of a training line."""
    wanted = {
        answer[at : at + LONG]: answer for answer in answers for at in range(len(answer) - LONG + 1)
    }
    if not wanted:
        return []
    found: set[str] = set()
    for line in lines:
        for at in range(len(line) - LONG + 1):
            if (answer := wanted.get(line[at : at + LONG])) is not None:
                found.add(answer)
    return sorted(found)
