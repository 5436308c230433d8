"""Screens text while it streams: nothing profane is released, clean text waits a little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from kogpt_bot.moderation.detector import Detector, Match

HOLD_BACK = 12  # characters; clean text is never later than this
# A profane word of so many characters, disguise included, never shows; the two more are for what
# follows it. The beginning of a longer one may be out before its end arrives.
LONGEST = HOLD_BACK - 2
LOOK_AHEAD = 8  # characters that may be shown sooner, so that 시발점 is never cut after 시발
MEMORY = 48  # released characters that are looked at again, for the words on the left
MASK = "○○"


class Screened(NamedTuple):
    """What may be shown now, and what was found in it; spans count from the stream's start."""

    text: str
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of the stream: what was released last, and what is held back."""

    text: str = ""
    released: int = 0  # how much of `text` is out
    origin: int = 0  # where `text` begins in the stream


def masked(_: Match) -> str:
    """Show ○○ for a match."""
    return MASK


def _overlap(one: Match, other: Match) -> bool:
    return one.start < other.end and other.start < one.end


class StreamScreen:
    """Screens one stream; feed it every delta, then finish it.

    `show` says what is put in a match's place: ○○ unless told otherwise. Matches below
    `threshold` are reported and left as they are.
    """

    def __init__(
        self, detector: Detector, *, threshold: int = 2, show: Callable[[Match], str] = masked
    ) -> None:
        self._detector = detector
        self._threshold = threshold
        self._show = show
        self._tail = _Tail()

    def feed(self, delta: str) -> Screened:
        """Take the next piece of the stream; return what is decided."""
        self._tail = replace(self._tail, text=self._tail.text + delta)
        return self._release(len(self._tail.text) - HOLD_BACK)

    def finish(self) -> Screened:
        """Return what is left; the stream has ended."""
        return self._release(len(self._tail.text))

    def _release(self, until: int) -> Screened:
        """Release up to `until`, or to the end of the word that would be cut there."""
        tail = self._tail
        if until <= tail.released:
            return Screened("", ())
        found = self._detector.find(tail.text)
        until = self._cut(until, found)
        pieces: list[str] = []
        matches: list[Match] = []
        at = tail.released
        for match in found:
            if match.end <= at or match.start >= until:
                continue
            shown = match.text if match.severity < self._threshold else self._show(match)
            pieces += (tail.text[at : match.start], shown)
            at = match.end
            matches.append(
                replace(match, start=match.start + tail.origin, end=match.end + tail.origin)
            )
        pieces.append(tail.text[at:until])
        self._forget(max(at, until))
        return Screened("".join(pieces), tuple(matches))

    def _cut(self, until: int, found: tuple[Match, ...]) -> int:
        """Return where to cut: at `until`, or a little later where that would cut a clean word.

        What is out must not read as profane by itself. 시발 of 시발점 need not wait for its 점,
        which is here already: it is shown together with it.
        """
        text, released = self._tail.text, self._tail.released
        for cut in range(until, min(until + LOOK_AHEAD, len(text)) + 1):
            seems = [
                match
                for match in self._detector.find(text[:cut])
                if match.severity >= self._threshold and match.end > released
            ]
            if all(any(_overlap(match, real) for real in found) for match in seems):
                return cut
        return until

    def _forget(self, released: int) -> None:
        drop = max(0, released - MEMORY)
        tail = self._tail
        self._tail = _Tail(tail.text[drop:], released - drop, tail.origin + drop)
