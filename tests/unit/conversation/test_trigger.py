"""When the bot answers."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kogpt_bot.conversation.settings import Trigger
from kogpt_bot.conversation.trigger import Reason, calls, decide
from kogpt_bot.messages import Author, ChannelKey, Incoming

MESSAGE = Incoming(
    ChannelKey("discord", "1"), "m", Author("u", "민수"), "점심 먹었어?", datetime(2026, 1, 1, tzinfo=UTC)
)  # fmt: skip
BOT = replace(MESSAGE, author=Author("b", "다른 봇", is_bot=True), mentions_bot=True)


def reason(message=MESSAGE, trigger=Trigger(), streak=0, draw=0.5):
    decision = decide(message, trigger, "코코", bot_streak=streak, draw=draw)
    return decision.reason if decision.respond else (False, decision.reason)


def test_what_is_not_addressed_is_not_answered():
    assert reason() == (False, Reason.NOT_ADDRESSED)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"direct": True}, Reason.DIRECT),
        ({"mentions_bot": True}, Reason.MENTION),
        ({"replies_to_bot": True}, Reason.REPLY),
        ({"text": "코코야 뭐 해?"}, Reason.WAKE_WORD),
    ],
)
def test_each_way_of_addressing_can_be_switched_off(change, wanted):
    message = replace(MESSAGE, **change)
    assert reason(message) == wanted
    off = Trigger(direct=False, mention=False, reply=False)
    assert (reason(message, off) == wanted) == (wanted is Reason.WAKE_WORD)


def test_every_message_and_interjections():
    assert reason(trigger=Trigger(every_message=True)) == Reason.EVERY_MESSAGE
    often = Trigger(interjection_probability=0.3)
    assert reason(trigger=often, draw=0.29) == Reason.INTERJECTION
    assert reason(trigger=often, draw=0.3) == (False, Reason.NOT_ADDRESSED)
    assert reason(trigger=Trigger(interjection_probability=0), draw=0.0)[0] is False


def test_other_bots_are_answered_only_where_allowed_and_not_forever():
    assert reason(BOT) == (False, Reason.FROM_BOT)
    allowed = Trigger(answer_bots=True, max_bot_streak=3)
    assert reason(BOT, allowed, streak=2) == Reason.MENTION
    assert reason(BOT, allowed, streak=3) == (False, Reason.BOT_LOOP)


CALLED = ["코코", "코코야", "코코야!", "안녕 코코", "코코는 뭐 해?", "코코한테 물어봐", "야,코코!", "코코님", "@코코", "코코…",
    "코코는요?", "코코하고 놀자", "코코에게서 왔어", "코코님께", "코코씨는", "코코야아", "코코랑은"]  # fmt: skip
NOT_CALLED = [
    "코코아 마시자",
    "따뜻한 코코아!",
    "초코코",
    "코코넛",
    "코코몽",
    "초코코야",
    "",
    "코 코",
]


@pytest.mark.parametrize("text", CALLED)
def test_a_name_with_its_particles_calls(text):
    assert calls(text, "코코")


@pytest.mark.parametrize("text", NOT_CALLED)
def test_a_name_inside_another_word_does_not(text):
    assert not calls(text, "코코")


def test_latin_names_in_any_case_and_decomposed_hangul():
    assert calls("hey KOKO!", "koko")
    assert not calls("kokomo", "koko")
    assert calls("코코야", "코코")


@pytest.mark.parametrize(
    "text", ["민준아", "민준이가", "민준이는 뭐 해", "민준은", "민준이랑", "민준님은", "민준이야"]
)
def test_a_name_with_a_final_consonant_takes_its_own_particles(text):
    assert calls(text, "민준")


def test_particles_that_do_not_go_with_the_name_make_another_word():
    assert not calls("별로 안 좋아", "별")
    assert not calls("민준야", "민준")
    assert not calls("코코이", "코코")
    assert calls("Coco야", "coco")
    assert calls("Coco아", "coco")  # how a name in letters ends is not known
