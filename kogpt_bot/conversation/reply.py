"""From the model's stream to the bot's answer: cleaned, and ended where somebody else speaks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from kogpt_bot.conversation.transcript import visible

ECHO_MIN_CHARS = 10  # people do greet each other with the same word
MAX_REPLY_CHARS = 20_000
# Whatever a platform may show as the end of a line is one; "\r\n" is one as well.
_BREAKS = str.maketrans({**dict.fromkeys("\v\f\x1c\x1d\x1e\x85\u2028\u2029", "\n"), "\r": None})


class ReplyFilter:
    """Takes the model's text in pieces and gives what may be shown; what it gave never changes.

    A line that may still become `이름:` of somebody present is held back, the first one too, and
    so is text that may still become a mere echo. `speakers` has one name at least. `done` says
    that the rest of the stream is not wanted.
    """

    def __init__(
        self,
        bot: str,
        speakers: Sequence[str],
        *,
        multiline: bool = True,
        echoes: Sequence[str] = (),
    ) -> None:
        self.done = False
        self._multiline = multiline
        self._own = re.compile(rf"\s*(?:{re.escape(bot)}[ \t]*[:：]\s*)*")
        names = "|".join(re.escape(name) for name in sorted(speakers, key=len, reverse=True))
        self._label = re.compile(rf"(?:\A|\n)[ \t]*(?:{names})[ \t]*[:：]")
        self._labels = [f"{name}:" for name in (bot, *speakers)]
        self._echoes = [e for e in map(_core, echoes) if len(e) >= ECHO_MIN_CHARS]
        self._raw = ""
        self._given = 0  # characters of the cleaned text that were given out

    @property
    def text(self) -> str:
        """The answer so far, cleaned; after `finish`, all of it."""
        return self._clean()[0].rstrip()

    def feed(self, delta: str) -> str:
        """Take a piece of the stream; return what may be shown now, "" for nothing yet."""
        if self.done:
            return ""
        self._raw += visible(delta.translate(_BREAKS))
        clean, self.done = self._clean()
        # What is left when it is done comes from `finish`, which knows an echo when it sees one.
        return "" if self.done else self._give(clean[: self._safe(clean)])

    def finish(self) -> str:
        """End the stream; return the rest of the answer, "" also for an echo."""
        self.done = True
        return "" if self.is_echo else self._give(self.text)

    @property
    def is_echo(self) -> bool:
        """Whether the answer only repeats what was said."""
        return _core(self.text) in self._echoes

    def _give(self, text: str) -> str:
        new = text[self._given :]
        self._given = max(self._given, len(text))
        return new

    def _clean(self) -> tuple[str, bool]:
        """Return the answer, without its own label, up to its end; and whether it has ended."""
        begin = self._own.match(self._raw)
        clean = self._raw[begin.end() if begin else 0 :]
        end = len(clean)
        if other := self._label.search(clean):
            end = other.start()
        if not self._multiline and "\n" in clean[:end]:
            end = clean.index("\n")
        ended = end < len(clean) or len(clean) >= MAX_REPLY_CHARS
        return clean[: min(end, MAX_REPLY_CHARS)], ended

    def _safe(self, clean: str) -> int:
        """Return how much of `clean` cannot be taken back any more."""
        if not self._given:
            core = _core(clean)
            if any(echo.startswith(core) for echo in self._echoes):
                return 0
        safe = len(clean.rstrip())
        line = clean.rfind("\n") + 1
        tail = clean[line:].strip()
        if any(label.startswith(tail) or label[:-1] == tail for label in self._labels):
            safe = min(safe, len(clean[:line].rstrip()))
        return safe


def _core(text: str) -> str:
    """Return the letters and digits of `text`: what makes two sayings the same."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if c.isalnum())
