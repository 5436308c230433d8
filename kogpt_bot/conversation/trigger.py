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


# What may follow a name in Korean without making it another word: titles, vocatives, particles.
# Some depend on whether the syllable before has a final consonant: 코코야 but 민준아, so that
# 코코아 (cocoa) calls nobody.
_ALWAYS = (
    "의|도|만(?:은|이|의|도)?|(?:에게|한테|께)(?:서)?(?:는|도|만)?|하고(?:는|도)?"
    "|(?:부터|까지|보다|처럼)(?:는|도)?"
)
_AFTER_VOWEL = "야[아야]*|여|가|는|를|와(?:는|도)?|랑(?:은|도)?|로|니|예요|라고|라는|라면"
_AFTER_CONSONANT = (
    "아+|이|은|을|과(?:는|도)?|이랑(?:은|도)?|으로|이니|이에요|이야|이여|이라고|이라는|이라면"
)
_VOWEL = rf"(?:{_AFTER_VOWEL}|{_ALWAYS})(?:요)?"
_CONSONANT = rf"(?:{_AFTER_CONSONANT}|{_ALWAYS}|이(?:{_VOWEL}))(?:요)?"  # 민준이가, 민준이는
_TITLES = rf"(?:씨|쨩)(?:{_VOWEL})?|(?:님|군|양|쌤|짱)(?:{_CONSONANT})?"
_FIRST_SYLLABLE, _LAST_SYLLABLE, _FINALS = 0xAC00, 0xD7A3, 28  # Unicode 3.12: Hangul syllables


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
    pattern = rf"(?<!\w){re.escape(folded)}(?:{_TITLES}|{_particles(folded)})?(?!\w)"
    return re.search(pattern, unicodedata.normalize("NFKC", text).casefold()) is not None


def _particles(word: str) -> str:
    last = ord(word[-1])
    if not _FIRST_SYLLABLE <= last <= _LAST_SYLLABLE:  # how it is pronounced is not known
        return f"{_VOWEL}|{_CONSONANT}"
    return _CONSONANT if (last - _FIRST_SYLLABLE) % _FINALS else _VOWEL
