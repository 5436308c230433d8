"""Token ids to text while they come: whole characters only, and never part of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are not (yet) a character
MAX_HELD = 64  # tokens without one whole character at their end: the bytes are taken as broken


class TextStream:
    """Decodes one sequence as it grows; bytes that never become a character are dropped."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = 0  # ids before it are not looked at again; from it to `read` is context
        self._read = 0  # all ids before it have been given out, and a character ends there
        self._given = 0  # characters given out of the ids after it

    def push(self, token_id: int) -> str:
        """Take a token; return the text that is certain now."""
        self._ids.append(token_id)
        whole = self._new_text()
        ended = not whole.endswith(UNFINISHED) or len(self._ids) - self._read >= MAX_HELD
        # What stands before the last whole character cannot change any more.
        text = _without_broken(whole if ended else whole.rstrip(UNFINISHED))
        new = text[self._given :]
        if ended:
            self._start, self._read, self._given = self._read, len(self._ids), 0
        else:
            self._given = len(text)
        return new

    def finish(self) -> str:
        """Return what is left, without a half character at the end."""
        return _without_broken(self._new_text())[self._given :]

    def _new_text(self) -> str:
        before = self._decode(self._start, self._read)
        return self._decode(self._start, len(self._ids))[len(before) :]

    def _decode(self, begin: int, end: int) -> str:
        return str(self._tokenizer.decode(self._ids[begin:end], skip_special_tokens=True))


def _without_broken(text: str) -> str:
    return text.replace(UNFINISHED, "")


class StopBuffer:
    """Holds back what may be the beginning of a stop string; `stopped` once one was found."""

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self.stopped = False
        self._stops = [stop for stop in stops if stop]
        self._include = include
        self._held = ""

    def push(self, text: str) -> str:
        """Take text; return what is certainly not part of a stop string."""
        if self.stopped:
            return ""
        self._held += text
        found = [(at + len(s), at) for s in self._stops if (at := self._held.find(s)) >= 0]
        if found:
            # The first to be complete ends the text, however the text was cut into pieces.
            end, at = min(found)
            self.stopped = True
            given, self._held = self._held[: end if self._include else at], ""
            return given
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        given, self._held = self._held[:cut], self._held[cut:]
        return given

    def finish(self) -> str:
        """Return what was held back: no stop string came of it."""
        given, self._held = self._held, ""
        return "" if self.stopped else given

    def _overlap(self, stop: str) -> int:
        """Return how many characters at the end could be the beginning of `stop`."""
        for size in range(min(len(stop) - 1, len(self._held)), 0, -1):
            if self._held.endswith(stop[:size]):
                return size
        return 0
