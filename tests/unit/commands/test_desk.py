"""The table of commands, and what holds for all of them."""

import pytest

from kogpt_bot.commands.desk import HANDLERS
from kogpt_bot.commands.limiter import MAX_PEOPLE, RateLimiter
from kogpt_bot.commands.words import Say
from kogpt_bot.conversation.settings import Language
from kogpt_bot.messages import ActionKind
from tests.fakes.clock import FakeClock
from tests.fakes.core import running


def test_every_kind_is_carried_out():
    assert set(HANDLERS) == set(ActionKind)


@pytest.mark.parametrize("kind", ActionKind)
async def test_every_kind_answers_in_words_on_an_empty_channel(store, kind):
    async with running(store) as core:
        result = await core.act(kind)
        assert result.text.strip()
        assert "{" not in result.text


@pytest.mark.parametrize("say", Say)
def test_every_sentence_has_the_same_fields_in_both_languages(say):
    import string

    korean, english = (
        {
            name.removesuffix("_object").removesuffix("_subject")
            for _, name, _, _ in string.Formatter().parse(text)
            if name
        }
        for text in say.value
    )
    only_korean = {"topic", "object", "value_to", "is_name", "description", "effective_subject"}
    assert english - korean <= {"name", "value"}
    assert korean - english <= only_korean
    assert Language.KO is not Language.EN


def test_a_person_who_asks_too_often_waits_and_others_do_not():
    clock = FakeClock()
    limiter = RateLimiter(clock, burst=3, per_minute=30)
    assert [limiter.wait_s("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.wait_s("a") == pytest.approx(2)
    assert limiter.wait_s("b") == 0
    clock.time += 2
    assert limiter.wait_s("a") == 0
    assert limiter.wait_s("a") > 0


def test_people_in_memory_are_bounded():
    limiter = RateLimiter(FakeClock(), burst=1, per_minute=1)
    for number in range(MAX_PEOPLE + 10):
        limiter.wait_s(str(number))
    assert len(limiter._buckets) == MAX_PEOPLE
