"""What people write: logged once, ignored, or answered with a word of warning."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kogpt_bot.conversation.settings import ChannelSettings, IncomingPolicy, Profanity
from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.moderation.detectors import Detectors, can_be_found
from kogpt_bot.moderation.incoming import WARN_EVERY_S, IncomingScreen
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store.profanity_values import Direction, HitFilter, Outcome
from tests.fakes.clock import FakeClock

ROOM = ChannelKey("fake", "room")


def message(text: str, id_: str = "m1", author: str = "u1") -> Incoming:
    return Incoming(ROOM, id_, Author(author, "민수"), text, datetime(2026, 1, 1, tzinfo=UTC))


def rules(policy: IncomingPolicy, **more: object) -> ChannelSettings:
    return ChannelSettings(profanity=Profanity(incoming=policy, **more))


@pytest.fixture
def table(store):
    return store.profanity


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def screen(table, clock, detector):
    log = ProfanityLog(table, Pseudonyms(b"k" * 32), clock)
    return IncomingScreen(Detectors(table, clock, detector), log, clock)


@pytest.mark.parametrize("policy", list(IncomingPolicy))
async def test_clean_messages_pass(table, screen, policy):
    said = message("여행의 시발점이 어디야?")
    done = await screen.screen(said, rules(policy))
    assert (done.message, done.ignored, done.warn) == (said, False, False)
    assert await table.hits(HitFilter()) == []


@pytest.mark.parametrize(
    ("policy", "outcome", "ignored", "warn"),
    [
        (IncomingPolicy.LOG, Outcome.SHOWN, False, False),
        (IncomingPolicy.IGNORE, Outcome.IGNORED, True, False),
        (IncomingPolicy.WARN, Outcome.WARNED, False, True),
    ],
)
async def test_policies(table, screen, policy, outcome, ignored, warn):
    done = await screen.screen(message("야 씨발"), rules(policy))
    assert (done.ignored, done.warn) == (ignored, warn)
    assert done.message.text == ("" if ignored else "야 씨발")
    (hit,) = await table.hits(HitFilter())
    assert (hit.text.direction, hit.text.outcome) == (Direction.INCOMING, outcome)
    assert (hit.text.message, hit.text.text) == ("m1", "야 씨발")


async def test_a_second_delivery_is_not_logged_again_but_an_edit_is(table, screen):
    for text in ("야 씨발", "야 씨발", "야 병신"):
        await screen.screen(message(text), rules(IncomingPolicy.LOG))
    assert [hit.found.matched for hit in await table.hits(HitFilter())] == ["병신", "씨발"]


async def test_the_warning_comes_once_in_a_while_for_each_person(screen, clock):
    settings = rules(IncomingPolicy.WARN)

    async def warned(id_: str, author: str = "u1") -> bool:
        return (await screen.screen(message("씨발", id_, author), settings)).warn

    assert await warned("1")
    assert not await warned("2")
    assert await warned("3", "u2")
    clock.time += WARN_EVERY_S
    assert await warned("4")


async def test_the_threshold_and_the_owners_words_count(table, screen):
    await screen.screen(message("젠장"), rules(IncomingPolicy.LOG))
    assert await table.hits(HitFilter()) == []
    done = await screen.screen(
        message("뽀로로", "m2"), rules(IncomingPolicy.IGNORE, extra=("뽀로로",))
    )
    assert done.ignored


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(st.text(min_size=1, max_size=20), max_size=3))
def test_no_word_that_a_setting_takes_breaks_the_detector(detector, words):
    usable = [word for word in words if can_be_found(word)]
    made = detector.with_words(allow=words, extra=usable)
    made.find("아무 말이나 " + " ".join(words))


async def test_a_name_is_no_message(screen, table):
    said = replace(message("안녕"), author=Author("u1", "씨발놈"))
    await screen.screen(said, rules(IncomingPolicy.LOG))
    assert await table.hits(HitFilter()) == []
