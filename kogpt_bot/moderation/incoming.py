"""What people write is screened when it comes in: logged, left unanswered, or answered with a
word of warning, as the channel's policy says."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from kogpt_bot.clock import Clock
from kogpt_bot.conversation.settings import ChannelSettings, IncomingPolicy
from kogpt_bot.messages import ChannelKey, Incoming
from kogpt_bot.moderation.detectors import Detectors
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.store.profanity_values import Direction
from kogpt_bot.store.profanity_values import Outcome as Shown

WARN_EVERY_S = 600.0  # one person of a channel; more often would be nagging
MAX_WARNED = 10_000  # people whose last warning is remembered

OUTCOMES = {
    IncomingPolicy.LOG: Shown.SHOWN,
    IncomingPolicy.IGNORE: Shown.IGNORED,
    IncomingPolicy.WARN: Shown.WARNED,
}


@dataclass(frozen=True, slots=True)
class Screening:
    """What becomes of a message: stored as `message` is; not answered if `ignored`."""

    message: Incoming
    ignored: bool = False
    warn: bool = False  # a word to its writer is due


class IncomingScreen:
    """Decides about messages; pure but for the log."""

    def __init__(self, detectors: Detectors, log: ProfanityLog, clock: Clock) -> None:
        self._detectors = detectors
        self._log = log
        self._clock = clock
        self._warned: OrderedDict[tuple[ChannelKey, str], float] = OrderedDict()

    async def screen(self, message: Incoming, settings: ChannelSettings) -> Screening:
        """Log what is found in a message and say what becomes of it."""
        rules = settings.profanity
        detector = await self._detectors.of(message.key, rules)
        matches = [m for m in detector.find(message.text) if m.severity >= rules.threshold]
        if not matches:
            return Screening(message)
        new = await self._log.said(
            Direction.INCOMING,
            message.key,
            message.author.id,
            message.text,
            matches,
            policy=rules.incoming,
            outcome=OUTCOMES[rules.incoming],
            message=message.message_id,
        )
        if rules.incoming is IncomingPolicy.IGNORE:
            # Stored without its text: known when it is delivered again, and never context.
            return Screening(replace(message, text=""), ignored=True)
        warn = new and rules.incoming is IncomingPolicy.WARN and self._may_warn(message)
        return Screening(message, warn=warn)

    def _may_warn(self, message: Incoming) -> bool:
        """Whether this person was not warned here lately; counts as a warning if so."""
        who, now = (message.key, message.author.id), self._clock.monotonic()
        last = self._warned.get(who)
        if last is not None and now - last < WARN_EVERY_S:
            return False
        self._warned[who] = now
        self._warned.move_to_end(who)
        if len(self._warned) > MAX_WARNED:
            self._warned.popitem(last=False)
        return True
