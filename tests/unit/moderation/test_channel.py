"""The moderation channel: what it hears, how often, and whose verdict counts."""

import asyncio
from datetime import UTC, datetime

import pytest

from kogpt_bot.conversation.settings import Language
from kogpt_bot.messages import ActionKind, ChannelKey
from kogpt_bot.moderation.channel import EVERY_S, ModerationChannel, covered, notice
from kogpt_bot.moderation.lexicon import Category
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.review import Reviews
from kogpt_bot.moderation.words import CATEGORIES, DIRECTIONS, OUTCOMES
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store.profanity_values import Direction, Outcome, Verdict
from tests.fakes.clock import FakeClock

MODERATORS = ChannelKey("discord", "99", "7")
ROOM = ChannelKey("discord", "8", "7")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def table(store):
    return store.profanity


class Place:
    """A moderation channel whose messages are kept."""

    def __init__(self, table, detector, **kept) -> None:
        self.clock, self.sent, self.table, self.detector = FakeClock(), [], table, detector
        reviews = Reviews(table, self.clock)
        self.channel = ModerationChannel(
            MODERATORS,
            lambda *sent: self.sent.append(sent),
            lambda: Language.KO,
            reviews,
            self.clock,
        )
        self.log = ProfanityLog(
            table, Pseudonyms(b"k" * 32), self.clock, heard=self.channel.hear, **kept
        )

    async def say(self, text: str) -> None:
        await self.log.said(
            Direction.INCOMING, ROOM, "u1", text, self.detector.find(text),
            policy="log", outcome=Outcome.SHOWN, message=text,
        )  # fmt: skip

    async def run_for(self, seconds: float) -> None:
        task = asyncio.create_task(self.channel.run())
        await self.clock.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])


async def test_a_hit_is_told_without_the_word(table, detector):
    place = Place(table, detector)
    await place.say("이 씨발 뭐야")
    await place.run_for(1)
    ((key, message),) = place.sent
    assert key == MODERATORS
    assert message.text == (
        "비속어를 찾았어요: 씨○ (욕설, 심각도 3)\n"
        "받은 메시지 · 그대로 두었어요 · discord/7/8/- · 기록 1번"
    )
    assert message.offers == (ActionKind.HIT_RIGHT, ActionKind.HIT_WRONG)
    assert message.subject == "1"


async def test_many_hits_are_one_notice_about_the_gravest(table, detector):
    place = Place(table, detector)
    for text in ("젠장", "병신", "씨발", "ㅅㅂ"):
        await place.say(text)
    await place.run_for(EVERY_S * 0.9)
    ((_, message),) = place.sent
    assert "심각도 3" in message.text
    assert message.text.endswith("그 사이에 3건이 더 있었어요.")


async def test_notices_keep_their_distance(table, detector):
    place = Place(table, detector)
    task = asyncio.create_task(place.channel.run())
    start = place.clock.monotonic()
    times = []
    for number in range(12):
        await place.say(f"씨발 {number}")
        await place.clock.sleep(EVERY_S / 4)
        times += [place.clock.monotonic()] * (len(place.sent) - len(times))
    task.cancel()
    await asyncio.wait([task])
    assert len(place.sent) <= (place.clock.monotonic() - start) / EVERY_S + 1
    assert len(place.sent) >= 2


async def test_a_button_reviews_the_hit_and_a_false_alarm_allows_the_word(table, detector):
    place = Place(table, detector)
    await place.say("씨발라면 먹자")
    verdict = {"channel": MODERATORS, "reviewer": "a" * 24, "at": NOW}
    assert await place.channel.review("1", right=True, **verdict)
    assert (await table.hit(1)).verdict is Verdict.RIGHT
    assert await place.channel.review("1", right=False, **verdict)
    assert (await table.hit(1)).verdict is Verdict.FALSE_ALARM
    (allowed,) = await table.allowed()
    assert (allowed.scope, allowed.phrase) == ("discord/7/8", "씨발라면")


@pytest.mark.parametrize("subject", ["2", "", "x", "1.0", "9" * 30, "-1"])
async def test_what_is_not_a_hit_is_refused(table, detector, subject):
    place = Place(table, detector)
    await place.say("씨발")
    assert not await place.channel.review(
        subject, right=True, channel=MODERATORS, reviewer="a", at=NOW
    )


async def test_nobody_judges_from_another_channel(table, detector):
    place = Place(table, detector)
    await place.say("씨발")
    assert not await place.channel.review("1", right=False, channel=ROOM, reviewer="a", at=NOW)
    assert (await table.hit(1)).verdict is None


async def test_a_false_alarm_counts_also_where_the_word_is_not_stored(table, detector):
    place = Place(table, detector, kept="hashed")
    await place.say("씨발라면")
    assert await place.channel.review("1", right=False, channel=MODERATORS, reviewer="a", at=NOW)
    assert (await table.hit(1)).verdict is Verdict.FALSE_ALARM
    assert await table.allowed() == []


@pytest.mark.parametrize(("word", "shown"), [("씨발", "씨○"), ("개새끼", "개○○"), ("x", "x○")])
def test_words_are_covered(word, shown):
    assert covered(word) == shown


async def test_every_value_has_its_words(table, detector):
    assert CATEGORIES.keys() == {each.value for each in Category}
    assert DIRECTIONS.keys() == set(Direction)
    assert OUTCOMES.keys() == set(Outcome)
    place = Place(table, detector)
    await place.say("씨발")
    text = notice(await table.hit(1), 2, Language.EN)
    assert text.startswith("Profanity was found: 씨○ (swearing, severity 3)")
    assert text.endswith("There were 2 more in the meantime.")
