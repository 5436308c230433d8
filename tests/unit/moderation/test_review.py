"""Reviews of hits: what a false alarm allows, where, and from when on."""

from datetime import UTC, datetime

import pytest

from kogpt_bot.conversation.settings import Profanity
from kogpt_bot.errors import Refused
from kogpt_bot.messages import ChannelKey
from kogpt_bot.moderation.detectors import REFRESH_S, Detectors, can_be_found
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.review import Reviews, phrase_of
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store.profanity_values import (
    Direction,
    Finding,
    Hit,
    HitFilter,
    HitText,
    Outcome,
    Verdict,
)
from tests.fakes.clock import FakeClock

ROOM, OTHER = ChannelKey("fake", "room"), ChannelKey("fake", "other")
RULES = Profanity()


@pytest.fixture
def table(store):
    return store.profanity


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def find(table, clock, detector):
    """Log what is found in a text, and return the first hit of it."""

    async def log(text: str, key: ChannelKey = ROOM, **kept: str) -> Hit:
        found = ProfanityLog(table, Pseudonyms(b"k" * 32), clock, **kept)
        await found.said(
            Direction.INCOMING, key, "u1", text, detector.find(text),
            policy="log", outcome=Outcome.SHOWN, message=text,
        )  # fmt: skip
        return (await table.hits(HitFilter()))[-1]

    return log


async def test_a_false_alarm_is_allowed_in_its_channel_alone(table, clock, detector, find):
    detectors = Detectors(table, clock, detector)
    hit = await find("우리 동네 씨발라면 맛집")
    assert (await detectors.of(ROOM, RULES)).is_profane("씨발라면 맛집")
    reviews = Reviews(table, clock, detectors.refresh)
    done = await reviews.review(hit.id, Verdict.FALSE_ALARM, by="cli:me")
    assert (done.allowed.scope, done.allowed.phrase) == ("fake/-/room", "씨발라면")
    here = await detectors.of(ROOM, RULES)
    assert not here.is_profane("씨발라면 맛집")
    assert here.is_profane("씨발")
    assert (await detectors.of(OTHER, RULES)).is_profane("씨발라면 맛집")
    assert (await table.hit(hit.id)).verdict is Verdict.FALSE_ALARM


async def test_everywhere_is_everywhere_and_right_takes_it_back(table, clock, detector, find):
    detectors = Detectors(table, clock, detector)
    hit = await find("씨발라면")
    reviews = Reviews(table, clock, detectors.refresh)
    await reviews.review(hit.id, Verdict.FALSE_ALARM, by="cli:me", everywhere=True)
    assert not (await detectors.of(OTHER, RULES)).is_profane("씨발라면")
    await reviews.review(hit.id, Verdict.RIGHT, by="cli:me")
    assert (await detectors.of(OTHER, RULES)).is_profane("씨발라면")
    assert (await table.hit(hit.id)).verdict is Verdict.RIGHT


async def test_a_review_made_by_another_process_counts_after_a_while(table, clock, detector, find):
    detectors = Detectors(table, clock, detector)
    hit = await find("씨발라면")
    assert (await detectors.of(ROOM, RULES)).is_profane("씨발라면")
    await Reviews(table, clock).review(hit.id, Verdict.FALSE_ALARM, by="cli:me")
    await clock.sleep(REFRESH_S)
    assert not (await detectors.of(ROOM, RULES)).is_profane("씨발라면")


async def test_what_was_allowed_outlives_the_hit(table, clock, find):
    hit = await find("씨발라면")
    await Reviews(table, clock).review(hit.id, Verdict.FALSE_ALARM, by="cli:me")
    assert await table.erase_before(datetime(2027, 1, 1, tzinfo=UTC)) == 1
    assert await table.hit(hit.id) is None
    (allowed,) = await table.allowed()
    assert allowed.phrase == "씨발라면"
    assert await table.disallow(allowed)
    assert await table.allowed() == []


async def test_the_owner_names_the_phrase_where_the_word_is_not_stored(table, clock, find):
    hit = await find("씨발라면", kept="hashed")
    with pytest.raises(Refused, match="--allow"):
        await Reviews(table, clock).review(hit.id, Verdict.FALSE_ALARM, by="cli:me")
    done = await Reviews(table, clock).review(
        hit.id, Verdict.FALSE_ALARM, by="cli:me", phrase="씨발라면"
    )
    assert done.allowed.phrase == "씨발라면"


async def test_a_hit_that_is_not_there_is_said(table, clock):
    with pytest.raises(Refused, match="there is no hit 9"):
        await Reviews(table, clock).review(9, Verdict.RIGHT, by="cli:me")


def hit_of(word: str, matched: str, rule: str) -> Hit:
    text = HitText(
        datetime.now(UTC), str(ROOM), Direction.INCOMING, "log", Outcome.SHOWN, "", word, "full"
    )
    return Hit(1, Finding(0, 0, matched, word, "씨발", "욕설", 3, rule), text)


@pytest.mark.parametrize(
    ("word", "phrase"),
    [
        ("(씨발라면은)", "씨발라면"),
        ("씨발라면,", "씨발라면"),
        ("씨발을", "씨발을"),
        ("씨1발라면", "씨1발라면"),
    ],
)
def test_the_phrase_is_the_word_without_its_particle(word, phrase):
    matched = "씨1발" if "1" in word else "씨발"
    assert phrase_of(hit_of(word, matched, "ssibal")) == phrase


@pytest.mark.parametrize("word", ["!!", "[", "😀", " ", "…", "´0"])
async def test_a_word_without_a_letter_is_left_out(table, clock, detector, word):
    assert not can_be_found(word)
    made = await Detectors(table, clock, detector).of(ROOM, Profanity(extra=(word,)))
    assert made.find("아무 말 !! [ 😀 …") == ()


async def test_detectors_are_kept_and_bounded(table, clock, detector, monkeypatch):
    monkeypatch.setattr("kogpt_bot.moderation.detectors.MAX_DETECTORS", 2)
    monkeypatch.setattr(type(detector), "with_words", lambda self, **_: object())
    detectors = Detectors(table, clock, detector)
    first = await detectors.get(extra=["가"])
    assert await detectors.get(extra=["가"]) is first
    for word in "나다":
        await detectors.get(extra=[word])
    assert await detectors.get(extra=["가"]) is not first
