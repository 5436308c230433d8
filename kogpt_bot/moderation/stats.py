"""Counting hits: by day, category, channel and outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo

from kogpt_bot.store.profanity_values import HitPoint

TOP_CHANNELS = 12  # in a table or a picture; the others are summed up
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Stats:
    """How many hits there were, seen from four sides; largest first, days in order."""

    days: Sequence[tuple[date, int]]  # without a gap
    categories: Sequence[tuple[str, int]]
    channels: Sequence[tuple[str, int]]
    outcomes: Sequence[tuple[str, int]]

    @property
    def total(self) -> int:
        """All hits."""
        return sum(count for _, count in self.categories)


def count(points: Iterable[HitPoint], zone: tzinfo | None = None) -> Stats:
    """Count hits; days are those of `zone`, the machine's own where none is given."""
    points = list(points)

    def by(name: Callable[[HitPoint], str]) -> list[tuple[str, int]]:
        return Counter(map(name, points)).most_common()

    return Stats(
        _without_gaps(Counter(point.at.astimezone(zone).date() for point in points)),
        by(lambda point: point.category),
        _top(by(lambda point: point.channel)),
        by(lambda point: f"{point.direction}: {point.outcome}"),
    )


def _without_gaps(days: Counter[date]) -> list[tuple[date, int]]:
    if not days:
        return []
    first, last = min(days), max(days)
    span = (last - first).days + 1
    return [(day, days[day]) for day in (first + timedelta(n) for n in range(span))]


def _top(channels: list[tuple[str, int]]) -> list[tuple[str, int]]:
    rest = sum(count for _, count in channels[TOP_CHANNELS:])
    return [*channels[:TOP_CHANNELS], *([(OTHERS, rest)] if rest else [])]
