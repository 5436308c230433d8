"""Deciding whether a message is the bot's to answer."""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass

from kogpt_bot.conversation.settings import Trigger
from kogpt_bot.messages import Incoming


class Reason(enum.StrEnum):
    """Why the bot answers, or why not."""

    DIRECT = "direct"
    MENTION = "mention"
    REPLY = "reply"
    WAKE_WORD = "wake word"
    EVERY_MESSAGE = "every message"
    INTERJECTION = "interjection"
    REGENERATE = "regenerate"
    NOT_ADDRESSED = "not addressed"
    FROM_BOT = "from a bot"
    BOT_LOOP = "bots among themselves"


# Somebody who speaks to the bot waits for it; an interjection can wait.
PRIORITIES = {Reason.DIRECT: 2, Reason.REGENERATE: 2, Reason.INTERJECTION: 0}


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to answer, why, and how urgently (higher is sooner)."""

    respond: bool
    reason: Reason

    @property
    def priority(self) -> int:
        """The priority of the turn."""
        return PRIORITIES.get(self.reason, 1)


# What may follow a name in Korean without making it another word: vocatives, titles, particles.
_PARTICLES = (
    "아|야|이야|님|씨|군|양|이|가|은|는|을|를|의|도|만|에게|한테|께|랑|이랑|와|과|로|으로|이는|이가|이도"
    "|이한테|이랑은|님은|님이|님아|님도|님께|님한테|씨는|씨가|부터|까지|보다|처럼|예요|이에요|이니|니"
)


def decide(
    message: Incoming, trigger: Trigger, name: str, *, bot_streak: int, draw: float
) -> Decision:
    """Decide about one message.

    `name` is the persona's. `bot_streak` counts the messages of bots, ours among them, since a
    human last spoke. `draw` is uniform in [0, 1) and decides about interjections.
    """
    if message.author.is_bot:
        if not trigger.answer_bots:
            return Decision(False, Reason.FROM_BOT)
        if bot_streak >= trigger.max_bot_streak:
            return Decision(False, Reason.BOT_LOOP)
    reason = _reason(message, trigger, name, draw)
    return Decision(reason is not Reason.NOT_ADDRESSED, reason)


def _reason(message: Incoming, trigger: Trigger, name: str, draw: float) -> Reason:
    called = any(calls(message.text, word) for word in (name, *trigger.wake_words))
    rules = (
        (trigger.direct and message.direct, Reason.DIRECT),
        (trigger.mention and message.mentions_bot, Reason.MENTION),
        (trigger.reply and message.replies_to_bot, Reason.REPLY),
        (called, Reason.WAKE_WORD),
        (trigger.every_message, Reason.EVERY_MESSAGE),
        (draw < trigger.interjection_probability, Reason.INTERJECTION),
    )
    return next((reason for applies, reason in rules if applies), Reason.NOT_ADDRESSED)


def calls(text: str, word: str) -> bool:
    """Return whether `text` has `word` as a word of its own, Korean particles after it allowed.

    `코코야`, `코코는` call 코코; `초코코` and `코코넛` do not.
    """
    folded = unicodedata.normalize("NFKC", word).casefold().strip()
    if not folded:
        return False
    pattern = rf"(?<!\w){re.escape(folded)}(?:{_PARTICLES})?(?!\w)"
    return re.search(pattern, unicodedata.normalize("NFKC", text).casefold()) is not None
