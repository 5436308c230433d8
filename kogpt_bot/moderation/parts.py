"""The moderation of one daemon: its parts, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kogpt_bot.clock import Clock
from kogpt_bot.config import Settings
from kogpt_bot.conversation.manager import ReplyRequest
from kogpt_bot.moderation.answer import Replies, ScreenedAnswers
from kogpt_bot.moderation.detectors import Detectors
from kogpt_bot.moderation.incoming import IncomingScreen
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store.profanity import ProfanityTable


@dataclass(frozen=True, slots=True)
class Moderation:
    """What screens answers and messages, and the log that both write."""

    log: ProfanityLog
    detectors: Detectors
    incoming: IncomingScreen
    pseudonyms: Pseudonyms

    def answers(self, replies: Replies, blocked: Callable[[ReplyRequest], str]) -> ScreenedAnswers:
        """Return the answers of the conversation manager, screened."""
        return ScreenedAnswers(replies, self.detectors, self.log, blocked)


def build(settings: Settings, table: ProfanityTable, clock: Clock) -> Moderation:
    """Put the parts together; ConfigurationError where the key in data_dir cannot be used."""
    pseudonyms = Pseudonyms.load(settings.data_dir)
    log = ProfanityLog(table, pseudonyms, clock, kept=settings.moderation.log_text)
    detectors = Detectors(table, clock)
    return Moderation(log, detectors, IncomingScreen(detectors, log, clock), pseudonyms)
