"""Log-probabilities of neighbouring tokens, held compactly (no torch): they lie beside blocks."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TypeVar

N = TypeVar("N", int, float)


class Scores:
    """For each token its log-probability given all that precedes, and the likeliest `width`
    tokens in its place with theirs. Numbers are float32, as they were computed."""

    __slots__ = ("_ids", "_values", "logprobs", "width")

    def __init__(
        self,
        width: int,
        logprobs: Iterable[float] = (),
        top_ids: Iterable[int] = (),
        top_logprobs: Iterable[float] = (),
    ) -> None:
        """`top_ids` and `top_logprobs` have `width` numbers a token, the likeliest first."""
        self.width = width
        self.logprobs = array("f", logprobs)
        self._ids = array("i", top_ids)
        self._values = array("f", top_logprobs)

    @classmethod
    def of_nothing(cls, width: int) -> Scores:
        """Return the place of a text's first token: nothing precedes it, nobody reads it."""
        return cls(width, [0.0], [0] * width, [0.0] * width)

    def __len__(self) -> int:
        return len(self.logprobs)

    @property
    def size(self) -> int:
        """How many bytes the numbers take."""
        return sum(len(each) * each.itemsize for each in (self.logprobs, self._ids, self._values))

    def top(self, at: int) -> list[tuple[int, float]]:
        """Return the likeliest tokens in the place of one, and their log-probabilities."""
        part = slice(at * self.width, (at + 1) * self.width)
        return list(zip(self._ids[part], self._values[part], strict=True))

    def extend(self, other: Scores, begin: int = 0, end: int | None = None) -> None:
        """Append those of the tokens [begin, end) of another, which has as many alternatives."""
        end = len(other) if end is None else min(end, len(other))
        self.logprobs += other.logprobs[begin:end]
        _append(self._ids, self.width, other._ids, other.width, begin, end)
        _append(self._values, self.width, other._values, other.width, begin, end)


def _append(own: array[N], kept: int, given: array[N], width: int, begin: int, end: int) -> None:
    """Append the first `kept` of the `width` numbers of each token in [begin, end)."""
    at = len(own)
    own.extend([0] * ((end - begin) * kept))
    for rank in range(kept):
        own[at + rank :: kept] = given[begin * width + rank : end * width : width]
