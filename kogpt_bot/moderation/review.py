"""Reviews: whether a hit is right, and what a false alarm allows from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from kogpt_bot.clock import Clock
from kogpt_bot.conversation.settings import scopes
from kogpt_bot.errors import Refused
from kogpt_bot.messages import ChannelKey
from kogpt_bot.moderation.detector import Detector
from kogpt_bot.moderation.normalise import normalise
from kogpt_bot.store.profanity import ProfanityTable
from kogpt_bot.store.profanity_values import EVERYWHERE, Allowed, Hit, Verdict

# What a word goes on with; a phrase without it covers the word with every particle.
PARTICLES = (
    "에서는", "에게는", "이라는", "에서", "에게", "한테", "으로", "까지", "부터", "처럼", "이라",
    "이나", "이랑", "은", "는", "이", "가", "을", "를", "에", "의", "도", "로", "와", "과", "만",
    "랑", "나", "야",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What came of a review."""

    hit: Hit
    verdict: Verdict
    allowed: Allowed | None = None  # what is no profanity from now on


class Reviews:
    """Writes reviews; in the daemon, `changed` makes them count at once."""

    def __init__(
        self,
        table: ProfanityTable,
        clock: Clock,
        changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._table = table
        self._clock = clock
        self._changed = changed

    async def review(
        self,
        hit_id: int,
        verdict: Verdict,
        *,
        by: str,
        everywhere: bool = False,
        phrase: str = "",
        lenient: bool = False,
        at: datetime | None = None,
    ) -> Reviewed:
        """Say of a hit that it is right or a false alarm; `by` names who says so.

        A false alarm allows `phrase`, or the word that the match stands in, in the hit's channel
        or everywhere; right takes that back. Raises Refused for a hit that is not there, and
        where no phrase is known that lets the text pass (with `lenient` nothing is allowed then).
        """
        hit = await self._table.hit(hit_id)
        if hit is None:
            raise Refused(f"there is no hit {hit_id}; `kogpt-bot profanity list` shows the newest")
        allowed = None
        if verdict is Verdict.FALSE_ALARM:
            try:
                phrase = phrase.strip() or await asyncio.to_thread(phrase_of, hit)
                allowed = Allowed(EVERYWHERE if everywhere else scope_of(hit), phrase)
            except Refused:
                if not lenient:
                    raise
        at = at or self._clock.now()
        await self._table.review(hit, verdict, by=by, at=at, allowed=allowed)
        if self._changed is not None:
            await self._changed()
        return Reviewed(hit, verdict, allowed)


def scope_of(hit: Hit) -> str:
    """Return the scope of the hit's channel, as settings name it."""
    return scopes(ChannelKey.parse(hit.text.channel))[-1][1]


def phrase_of(hit: Hit) -> str:
    """Return the shortest phrase of the hit's word that lets it pass; Refused where none does.

    The word rather than the match: that 시발점 is harmless must not make 시발 so.
    """
    if not hit.found.word:
        raise Refused(f"the word of hit {hit.id} is not stored; name it: --allow PHRASE")
    plain = Detector.default()
    for phrase in _candidates(hit):
        left = plain.with_words(allow=[phrase]).find(hit.found.word)
        if all(match.rule != hit.found.rule for match in left):
            return phrase
    raise Refused(
        f"no phrase of {hit.found.word!r} lets it pass (rule {hit.found.rule}); "
        "name one: --allow PHRASE"
    )


def _candidates(hit: Hit) -> Iterator[str]:
    word = hit.found.word
    start, end = 0, len(word)
    while start < end and not word[start].isalnum():
        start += 1
    while end > start and not word[end - 1].isalnum():
        end -= 1
    bare = word[start:end]
    for particle in PARTICLES:
        stem = bare.removesuffix(particle)
        if stem != bare and hit.found.matched in stem and len(stem) > len(hit.found.matched):
            yield stem
            break
    yield from dict.fromkeys((bare, word, normalise(bare).text, normalise(word).text))
