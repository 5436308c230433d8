"""The profanity log's rows: in order, filtered, erased with whom they speak of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kogpt_bot.messages import ChannelKey
from kogpt_bot.store import Store
from kogpt_bot.store.profanity import ERASED
from kogpt_bot.store.profanity_values import (
    EVERYWHERE,
    Allowed,
    Direction,
    Finding,
    HitFilter,
    HitText,
    Outcome,
    Verdict,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROOM = ChannelKey("discord", "8", "7")
ME, YOU = "a" * 24, "b" * 24
FOUND = Finding(0, 2, "씨발", "씨발아", "씨발", "욕설", 3, "ssibal")
SAID = HitText(
    NOW, str(ROOM), Direction.INCOMING, "log", Outcome.SHOWN, "d", "씨발아", "full",
    message="m1", person=ME, people=ME,
)  # fmt: skip
ANSWER = replace(
    SAID,
    direction=Direction.ANSWER,
    person=YOU,
    people=f"{ME} {YOU}",
    prompt="나: 비밀이야\n코코:",
    generated=" 씨발아",
    seed=2**62,
    request={"prompt_ids": [1, 2]},
    complete=False,
)


@pytest.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


async def test_a_hit_comes_back_as_it_was(store):
    text, (hit,) = await store.profanity.record(ANSWER, [FOUND])
    (found,) = await store.profanity.hits(HitFilter())
    assert found == hit
    assert (found.found, found.text) == (FOUND, replace(ANSWER, id=text.id))


async def test_what_is_found_later_joins_the_same_text(store):
    text, _ = await store.profanity.record(ANSWER, [FOUND])
    longer = replace(text, text="씨발아 병신아", generated="씨발아 병신아")
    await store.profanity.append(longer, [replace(FOUND, span_start=4, span_end=6)])
    await store.profanity.complete(replace(longer, generated="씨발아 병신아."))
    hits = await store.profanity.hits(HitFilter(newest_first=False))
    assert [hit.found.span_start for hit in hits] == [0, 4]
    assert {(hit.text.id, hit.text.generated, hit.text.complete) for hit in hits} == {
        (text.id, "씨발아 병신아.", True)
    }


async def test_a_message_is_logged_once_and_an_answer_each_time(store):
    for row in (SAID, SAID, ANSWER, ANSWER):
        await store.profanity.record(row, [FOUND])
    hits = await store.profanity.hits(HitFilter(newest_first=False))
    assert [hit.text.direction.value for hit in hits] == ["incoming", "answer", "answer"]


async def test_the_newest_review_counts_and_hits_stay_as_they_were(store):
    _, (hit,) = await store.profanity.record(SAID, [FOUND])
    word = Allowed(EVERYWHERE, "씨발아")
    for verdict, allowed in ((Verdict.FALSE_ALARM, word), (Verdict.RIGHT, None)):
        await store.profanity.review(hit, verdict, by="cli:me", at=NOW, allowed=allowed)
    (found,) = await store.profanity.hits(HitFilter(verdict="right"))
    assert (found.found, found.text) == (hit.found, hit.text)
    assert await store.profanity.allowed() == []
    assert [p.verdict for p in await store.profanity.points(HitFilter())] == ["right"]


async def test_the_same_phrase_is_allowed_once(store):
    _, hits = await store.profanity.record(ANSWER, [FOUND, FOUND])
    for hit in hits:
        await store.profanity.review(
            hit, Verdict.FALSE_ALARM, by="cli:me", at=NOW, allowed=Allowed("discord/7/8", "씨발아")
        )
    assert await store.profanity.allowed() == [Allowed("discord/7/8", "씨발아")]
    assert await store.profanity.erase_channel(str(ROOM)) == 1
    assert await store.profanity.allowed() == []


async def test_the_channel_filter_means_whole_parts(store):
    await store.profanity.record(SAID, [FOUND])
    for wanted, count in (("discord", 1), ("discord/7", 1), ("disc", 0), ("discord/%", 0)):
        assert len(await store.profanity.hits(HitFilter(channel=wanted))) == count


async def test_erasing_a_person_erases_them_from_the_log(store):
    await store.profanity.record(SAID, [FOUND])
    _, (answer,) = await store.profanity.record(ANSWER, [FOUND])
    await store.erasure.erase(ME, "discord", "u1")
    (left,) = await store.profanity.hits(HitFilter())
    assert left.id == answer.id
    assert (left.text.text, left.text.prompt, left.text.generated) == (ERASED, ERASED, ERASED)
    assert (left.text.request, left.found.word, left.found.matched) == (None, "", "")
    assert (left.found.canonical, left.found.rule) == ("씨발", "ssibal")


async def test_erasing_in_another_channel_changes_nothing(store):
    await store.profanity.record(SAID, [FOUND])
    await store.erasure.erase(ME, "discord", "u1", ChannelKey("discord", "9", "7"))
    assert len(await store.profanity.hits(HitFilter())) == 1


async def test_a_person_can_read_what_is_logged_of_them(store):
    await store.profanity.record(SAID, [FOUND])
    await store.profanity.record(ANSWER, [FOUND])
    data = await store.export.of(ME, "discord", "u1")
    assert [(row["direction"], row["text"], row["matched"]) for row in data["profanity"]] == [
        ("incoming", "씨발아", "씨발")
    ]


async def test_what_is_old_goes_with_its_hits_and_reviews(store):
    _, (old,) = await store.profanity.record(SAID, [FOUND])
    await store.profanity.review(old, Verdict.RIGHT, by="cli:me", at=NOW, allowed=None)
    late = replace(SAID, at=NOW + timedelta(days=1), message="m2")
    _, (new,) = await store.profanity.record(late, [FOUND])
    assert await store.profanity.erase_before(NOW + timedelta(hours=1)) == 1
    assert await store.profanity.left([old.id, new.id]) == {new.id: True}
