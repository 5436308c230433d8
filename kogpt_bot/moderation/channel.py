"""The moderation channel: hears of hits, and says with a button whether they are right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.conversation.settings import Language
from kogpt_bot.errors import Refused
from kogpt_bot.messages import ActionKind, ChannelKey, Outgoing
from kogpt_bot.moderation.review import Reviews
from kogpt_bot.moderation.words import CATEGORIES, DIRECTIONS, MORE, NOTICE, OUTCOMES
from kogpt_bot.store.profanity_values import Hit, Verdict

log = structlog.get_logger(__name__)

EVERY_S = 20.0  # between two notices: a channel of people reads no more, and platforms allow more
LARGEST_ID = 2**63 - 1


class ModerationChannel:
    """Tells one channel of hits, at most one notice every 20 seconds, the gravest of its time.

    `announce` takes a message at once and sends it in its own time: no answer waits for it.
    """

    def __init__(
        self,
        key: ChannelKey,
        announce: Callable[[ChannelKey, Outgoing], None],
        language: Callable[[], Language],
        reviews: Reviews,
        clock: Clock,
    ) -> None:
        self._key = key
        self._announce = announce
        self._language = language
        self._reviews = reviews
        self._clock = clock
        self._gravest: Hit | None = None
        self._others = 0
        self._heard = asyncio.Event()

    def hear(self, hits: Sequence[Hit]) -> None:
        """Note hits for the next notice."""
        for hit in hits:
            self._others += self._gravest is not None
            if self._gravest is None or hit.found.severity > self._gravest.found.severity:
                self._gravest = hit
        if hits:
            self._heard.set()

    async def run(self) -> None:
        """Send notices until cancelled."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            if self._gravest is not None:
                message = self._notice(self._gravest, self._others)
                self._gravest, self._others = None, 0
                self._announce(self._key, message)
            await self._clock.sleep(EVERY_S)

    def _notice(self, hit: Hit, others: int) -> Outgoing:
        return Outgoing(
            notice(hit, others, self._language()),
            offers=(ActionKind.HIT_RIGHT, ActionKind.HIT_WRONG),
            subject=str(hit.id),
        )

    async def review(
        self, subject: str, *, right: bool, channel: ChannelKey, reviewer: str, at: datetime
    ) -> bool:
        """Record what a button said; False where there is no such hit, or elsewhere than here.

        A manager of another server must not judge what was found in this one.
        """
        if channel != self._key or not subject.isdecimal() or int(subject) > LARGEST_ID:
            return False
        verdict = Verdict.RIGHT if right else Verdict.FALSE_ALARM
        try:
            await self._reviews.review(int(subject), verdict, by=reviewer, at=at, lenient=True)
        except Refused:
            return False
        return True


def notice(hit: Hit, others: int, language: Language) -> str:
    """Return what is said of a hit; the word itself is not."""
    found, text = hit.found, hit.text
    korean = language is Language.KO
    index = 0 if korean else 1
    lines = [
        NOTICE[index].format(
            word=covered(found.canonical),
            category=CATEGORIES.get(found.category, (found.category,) * 2)[index],
            severity=found.severity,
            direction=DIRECTIONS[text.direction][index],
            outcome=OUTCOMES[text.outcome][index],
            channel=text.channel,
            id=hit.id,
        )
    ]
    if others:
        lines.append(MORE[index].format(count=others))
    return "\n".join(lines)


def covered(word: str) -> str:
    """Return a word with all but its first letter covered: 씨○."""
    return word[:1] + "○" * max(1, len(word) - 1)
