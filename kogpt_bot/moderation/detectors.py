"""The detector of a channel: the lexicon, the owner's words, and what reviews found harmless."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.conversation.settings import Profanity, scopes
from kogpt_bot.messages import ChannelKey
from kogpt_bot.moderation.detector import Detector
from kogpt_bot.moderation.lexicon import Lexicon
from kogpt_bot.moderation.normalise import normalise
from kogpt_bot.moderation.pattern import PatternError
from kogpt_bot.store.profanity import ProfanityTable

log = structlog.get_logger(__name__)

MAX_DETECTORS = 32  # different word lists at a time; each is some megabytes of patterns
REFRESH_S = 5.0  # a review made elsewhere (the command line) takes effect within this time

_EMPTY = Lexicon((), (), ())
_Words = tuple[frozenset[str], frozenset[str]]  # allowed, extra


class Detectors:
    """Builds detectors when they are first needed, off the event loop, and keeps the last used."""

    def __init__(self, table: ProfanityTable, clock: Clock, plain: Detector | None = None) -> None:
        self._table = table
        self._clock = clock
        self._kept: OrderedDict[_Words, Detector] = OrderedDict()
        self._plain = plain  # the lexicon's own; made when it is first needed
        self._building = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self._reviewed: dict[str, set[str]] = {}  # scope -> phrases
        self._fresh_until = clock.monotonic()

    async def of(self, key: ChannelKey, rules: Profanity) -> Detector:
        """Return the detector for a channel with these settings."""
        if self._stale:
            async with self._refreshing:  # a burst of messages reads them once
                if self._stale:
                    await self.refresh()
        reviewed = (self._reviewed.get(scope, ()) for _, scope in scopes(key))
        return await self.get({*rules.allow, *(p for part in reviewed for p in part)}, rules.extra)

    @property
    def _stale(self) -> bool:
        return self._clock.monotonic() >= self._fresh_until

    async def refresh(self) -> None:
        """Read what reviews allowed."""
        found: dict[str, set[str]] = {}
        for each in await self._table.allowed():
            found.setdefault(each.scope, set()).add(each.phrase)
        self._reviewed = found
        self._fresh_until = self._clock.monotonic() + REFRESH_S

    async def get(self, allow: Collection[str] = (), extra: Collection[str] = ()) -> Detector:
        """Return the detector for these words."""
        words = (frozenset(allow), frozenset(extra))
        if (known := self._kept.get(words)) is not None:
            self._kept.move_to_end(words)
            return known
        async with self._building:
            if (known := self._kept.get(words)) is None:
                known = await asyncio.to_thread(self._build, words)
                self._kept[words] = known
                if len(self._kept) > MAX_DETECTORS:
                    self._kept.popitem(last=False)
        return known

    def _build(self, words: _Words) -> Detector:
        self._plain = self._plain or Detector.default()
        allow, extra = words
        if not allow and not extra:
            return self._plain
        usable = sorted(filter(can_be_found, extra))
        for word in extra.difference(usable):
            log.warning("extra_word_ignored", word=word, why="it has nothing to look for")
        return self._plain.with_words(allow=sorted(allow), extra=usable)


def can_be_found(word: str) -> bool:
    """Whether a word of the owner's has something that the detector can look for."""
    if not any(char.isalnum() for char in normalise(word).text):
        return False
    try:
        Detector(_EMPTY).with_words(extra=[word])
    except PatternError:  # it begins with a sign that is read as a space, say
        return False
    return True
