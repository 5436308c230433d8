"""Showing an answer: the pace, the limits, and what happens when the platform says no."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from kogpt_bot.adapter import Capabilities
from kogpt_bot.delivery.patience import BACKOFF_CAP_S, OUTAGE_S
from kogpt_bot.delivery.stream import AnswerStream, Part, SendUnknown
from kogpt_bot.errors import (
    Forbidden,
    GenerationInterrupted,
    Malformed,
    NotSent,
    RetryAfter,
    Unreachable,
)
from kogpt_bot.messages import ChannelKey
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger

KEY = ChannelKey("fake", "room")
DEADLINE_S = 120.0
EDITING = Capabilities(max_length=200, edits=True, min_edit_interval_s=1.0, typing=True)


class Platform:
    """An adapter that records each call with its time and fails as it is told to."""

    name = "fake"

    def __init__(self, clock: FakeClock, capabilities: Capabilities = EDITING) -> None:
        self.clock = clock
        self.capabilities = capabilities
        self.calls: list[tuple[float, str, str, bool]] = []
        self.failures: dict[str, list[Exception]] = {}
        self.shown: dict[str, str] = {}
        self.nonces: list[str] = []
        self.away_until = 0.0

    def _call(self, kind, text="", final=False):
        self.calls.append((self.clock.monotonic(), kind, text, final))
        if self.clock.monotonic() < self.away_until:
            raise NotSent("no connection")
        if self.failures.get(kind):
            raise self.failures[kind].pop(0)

    def capabilities_in(self, key):
        return self.capabilities

    async def send(self, key, message):
        self.nonces.append(message.nonce)
        self._call("send", message.text, message.final)
        id_ = f"m{len(self.shown)}"
        self.shown[id_] = message.text
        return id_

    async def edit(self, key, message_id, message):
        self._call("edit", message.text, message.final)
        self.shown[message_id] = message.text

    async def delete(self, key, message_id):
        self._call("delete")
        del self.shown[message_id]

    async def typing(self, key):
        self._call("typing")

    def times(self, *kinds):
        return [time for time, kind, _, _ in self.calls if kind in kinds]


class DraftingPlatform(Platform):
    """... that has drafts besides edits."""

    def __init__(self, clock, capabilities=replace(EDITING, native_drafts=True)):
        super().__init__(clock, capabilities)
        self.draft_ids = set()

    async def draft(self, key, draft_id, message):
        self.draft_ids.add(draft_id)
        self._call("draft", message.text, message.final)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def platform(clock):
    return Platform(clock)


async def written(clock, *deltas, every=0.3, error=None):
    for delta in deltas:
        await clock.sleep(every)
        yield delta
    if error:
        raise error


def answer(platform, clock, ledger=None):
    ledger = ledger or FakeLedger()
    deadline = clock.monotonic() + DEADLINE_S
    return AnswerStream(platform, KEY, clock, ledger, name="n7", reply_to="q1", deadline=deadline)


async def test_the_answer_appears_grows_and_is_complete(platform, clock):
    stream = answer(platform, clock)
    await stream.show(written(clock, *"오늘 하루도 정말 수고 많았어요."), stream=True)
    assert platform.shown == {"m0": "오늘 하루도 정말 수고 많았어요."}
    kinds = [kind for _, kind, _, _ in platform.calls if kind != "typing"]
    assert kinds[0] == "send"
    assert kinds.count("edit") >= 3
    assert platform.calls[-1][3] is True


async def test_edits_keep_the_platforms_interval(platform, clock):
    await answer(platform, clock).show(written(clock, *("가 " * 60), every=0.05), stream=True)
    times = platform.times("send", "edit")
    assert len(times) > 3
    assert all(b - a >= 0.999 for a, b in pairwise(times))


async def test_without_streaming_it_is_sent_once(platform, clock):
    await answer(platform, clock).show(written(clock, "안녕", "하세요"), stream=False)
    assert [c[1:] for c in platform.calls if c[1] != "typing"] == [("send", "안녕하세요", True)]


async def test_an_adapter_without_edits_gets_whole_messages(clock):
    platform = Platform(clock, replace(EDITING, edits=False))
    await answer(platform, clock).show(written(clock, "안녕", "하세요"), stream=True)
    assert [c[2] for c in platform.calls if c[1] == "send"] == ["안녕하세요"]


async def test_typing_is_shown_until_there_is_text(platform, clock):
    await answer(platform, clock).show(written(clock, "네", every=20), stream=True)
    assert len(platform.times("typing")) == 5  # at once, then every 4 of the 5 s that it lasts


async def test_a_long_answer_goes_on_in_a_new_message(platform, clock):
    text = "이 문장은 스무 글자쯤 됩니다. " * 30
    stream = answer(platform, clock)
    await stream.show(written(clock, *text, every=0.02), stream=True)
    assert len(stream.parts) > 2
    assert all(len(t) <= 200 for t in platform.shown.values())
    assert "".join(" ".join(p.text for p in stream.parts).split()) == "".join(text.split())
    assert sorted(set(platform.nonces)) == [f"n7.{n}" for n in range(len(stream.parts))]


async def test_no_edit_comes_before_retry_after(platform, clock):
    platform.failures["edit"] = [RetryAfter(7.5)]
    await answer(platform, clock).show(written(clock, *("가 " * 100), every=0.1), stream=True)
    edits = platform.times("edit")
    assert edits[1] - edits[0] >= 7.5
    assert platform.shown["m0"] == ("가 " * 100).strip()


async def test_the_last_edit_is_insisted_on(platform, clock):
    platform.failures["edit"] = [Unreachable("reset"), Unreachable("reset"), RetryAfter(3)]
    await answer(platform, clock).show(written(clock, "네", ", 좋아요", every=0.9), stream=True)
    assert platform.shown["m0"] == "네, 좋아요"


async def test_many_short_flood_waits_are_sat_out(platform, clock):
    platform.failures["send"] = [RetryAfter(2) for _ in range(10)]
    platform.failures["edit"] = [RetryAfter(2) for _ in range(10)]
    await answer(platform, clock).show(written(clock, "네", ", ", "좋아요", every=0.5), stream=True)
    assert platform.shown == {"m0": "네, 좋아요"}


@pytest.mark.parametrize("seconds", [0, 5])
async def test_flood_waits_without_end_are_not(platform, clock, seconds):
    begun = clock.monotonic()
    platform.failures["send"] = [RetryAfter(seconds) for _ in range(10_000)]
    with pytest.raises(RetryAfter):
        await answer(platform, clock).show(written(clock, "네"), stream=True)
    assert clock.monotonic() - begun <= 65
    assert len(platform.times("send")) < 1000


async def test_a_send_that_may_have_arrived_is_not_repeated(platform, clock):
    platform.failures["send"] = [Unreachable("reset")]
    with pytest.raises(SendUnknown):
        await answer(platform, clock).show(written(clock, "네"), stream=True)
    assert len(platform.times("send")) == 1


async def test_a_send_with_a_key_is_repeated_with_the_same_key(clock):
    platform = Platform(clock, replace(EDITING, idempotent_send=True))
    platform.failures["send"] = [Unreachable("reset"), RetryAfter(2)]
    await answer(platform, clock).show(written(clock, "네"), stream=True)
    assert platform.nonces == ["n7.0"] * 3
    assert list(platform.shown.values()) == ["네"]


async def test_a_send_that_never_left_is_repeated_also_without_a_key(platform, clock):
    platform.failures["send"] = [NotSent("refused"), NotSent("refused")]
    await answer(platform, clock).show(written(clock, "네"), stream=True)
    assert len(platform.times("send")) == 3
    assert list(platform.shown.values()) == ["네"]


async def test_an_answer_grows_in_drafts_and_is_sent_once(clock):
    platform = DraftingPlatform(clock)
    await answer(platform, clock).show(written(clock, *("가 " * 30), every=0.2), stream=True)
    drafts = platform.times("draft")
    assert len(drafts) >= 4
    assert all(b - a >= 0.999 for a, b in pairwise(drafts))
    assert len(platform.draft_ids) == 1
    assert 0 < platform.draft_ids.pop() < 2**31
    assert not platform.times("edit")
    assert platform.calls[-1][1:] == ("send", ("가 " * 30).strip(), True)
    assert len(platform.shown) == 1


async def test_a_draft_is_shown_again_before_it_goes_away(clock):
    platform = DraftingPlatform(clock)
    await answer(platform, clock).show(written(clock, "가", "나", every=50), stream=True)
    drafts = platform.times("draft")
    assert len(drafts) == 3  # at 50 s, 70 s, 90 s
    assert {call[2] for call in platform.calls if call[1] == "draft"} == {"가"}


async def test_a_long_answer_in_drafts_sends_what_is_full(clock):
    platform = DraftingPlatform(clock)
    stream = answer(platform, clock)
    text = "이 문장은 스무 글자쯤 됩니다. " * 30
    await stream.show(written(clock, *text, every=0.05), stream=True)
    assert len(stream.parts) > 2
    assert all(part.final for part in stream.parts)
    assert not platform.times("edit")
    assert "".join(" ".join(p.text for p in stream.parts).split()) == "".join(text.split())


async def test_refused_drafts_turn_to_edits(clock):
    platform = DraftingPlatform(clock)
    platform.failures["draft"] = [Malformed("no drafts here")]
    await answer(platform, clock).show(written(clock, *("가 " * 30), every=0.2), stream=True)
    assert len(platform.times("draft")) == 1
    assert len(platform.times("edit")) >= 3
    assert platform.shown == {"m0": ("가 " * 30).strip()}


async def test_nothing_comes_before_the_flood_wait_of_a_draft_ends(clock):
    platform = DraftingPlatform(clock)
    platform.failures["draft"] = [RetryAfter(30)]
    await answer(platform, clock).show(written(clock, *"네 좋아요", every=0.5), stream=True)
    (drafted,) = platform.times("draft")
    (sent,) = platform.times("send")
    assert sent - drafted >= 30


async def test_a_long_flood_wait_between_edits_is_not_sat_out_at_the_end(platform, clock):
    platform.failures["edit"] = [RetryAfter(3600)]
    stream = answer(platform, clock)
    with pytest.raises(RetryAfter):
        await stream.show(written(clock, *("가 " * 30), every=0.2), stream=True)
    assert stream.parts


async def test_a_flood_wait_of_an_hour_is_not_sat_out(platform, clock):
    platform.failures["send"] = [RetryAfter(3600)]
    with pytest.raises(RetryAfter):
        await answer(platform, clock).show(written(clock, "네"), stream=True)


async def test_forbidden_is_raised_and_the_generator_closed(platform, clock):
    platform.failures["send"] = [Forbidden("no")]
    closed = asyncio.Event()

    async def endless():
        try:
            while True:
                await clock.sleep(0.1)
                yield "가"
        finally:
            closed.set()

    with pytest.raises(Forbidden):
        await answer(platform, clock).show(endless(), stream=True)
    await asyncio.wait_for(closed.wait(), 1)


async def test_an_interrupted_answer_keeps_what_was_shown(platform, clock):
    stream = answer(platform, clock)
    broken = written(clock, "여기까지", " 썼는데", error=GenerationInterrupted("gone"))
    with pytest.raises(GenerationInterrupted):
        await stream.show(broken, stream=True)
    assert stream.parts[0].text == "여기까지 썼는데"
    assert stream.parts[0].final


async def test_nothing_is_sent_when_nothing_was_said(platform, clock):
    stream = answer(platform, clock)
    await stream.show(written(clock, " ", "\n"), stream=True)
    assert stream.parts == []
    assert not platform.times("send")


async def test_each_message_is_recorded_before_it_is_sent_and_the_whole_before_the_end(
    platform, clock
):
    ledger = FakeLedger()
    stream = answer(platform, clock, ledger)
    await stream.show(written(clock, *("이 문장은 스무 글자쯤 됩니다. " * 20)), stream=True)
    assert ledger.events[:2] == [("before", 0), ("after", 0)]
    whole = ledger.events.index(("whole", len(stream.parts)))
    assert ledger.texts == [part.text for part in stream.parts]
    for number in range(len(stream.parts)):
        before, after = (ledger.events.index((what, number)) for what in ("before", "after"))
        assert before < after
    assert platform.calls[-1][3]  # the last call is the final one ...
    assert whole >= ledger.events.index(("after", 0))  # ... and came after the record of it all


async def test_what_an_earlier_attempt_has_shown_is_edited_and_the_surplus_removed(clock):
    platform = Platform(clock, replace(EDITING, deletes=True))
    stream = answer(platform, clock)
    platform.shown = {"m0": "어제 쓰다 만", "m1": "것"}
    stream.parts += [Part("m0", "어제 쓰다 만", False), Part("m1", "것", False)]
    await stream.show(written(clock, "새 답"), stream=False)
    assert platform.shown == {"m0": "새 답"}
    assert [(part.message_id, part.text) for part in stream.parts] == [("m0", "새 답")]


async def test_an_interrupted_send_goes_on_under_its_key(clock):
    platform = Platform(clock, replace(EDITING, idempotent_send=True))
    stream = answer(platform, clock)
    await stream.send_again("여기까")
    await stream.finish(["여기까지 썼어요"])
    assert platform.nonces == ["n7.0"]
    assert platform.shown == {"m0": "여기까지 썼어요"}


async def test_a_send_with_a_key_that_never_works_is_unknown(clock):
    platform = Platform(clock, replace(EDITING, idempotent_send=True))
    platform.failures["send"] = [Unreachable("reset")] * 1000
    begun = clock.monotonic()
    with pytest.raises(SendUnknown):
        await answer(platform, clock).show(written(clock, "네"), stream=True)
    assert clock.monotonic() == begun + DEADLINE_S
    assert set(platform.nonces) == {"n7.0"}


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_platform_that_is_away_is_waited_for_until_the_deadline(clock, keyed):
    platform = Platform(clock, replace(EDITING, idempotent_send=keyed))
    back_at = clock.monotonic() + DEADLINE_S - 10
    platform.away_until = back_at
    await answer(platform, clock).show(written(clock, "네", ", 좋아요"), stream=True)
    assert list(platform.shown.values()) == ["네, 좋아요"]
    (shown,) = [at for at in platform.times("send") if at >= back_at]
    assert shown - back_at <= BACKOFF_CAP_S


async def test_a_platform_that_stays_away_is_waited_for_no_longer(platform, clock):
    platform.away_until = float("inf")
    begun = clock.monotonic()
    with pytest.raises(NotSent):
        await answer(platform, clock).show(written(clock, "네"), stream=True)
    assert clock.monotonic() == begun + DEADLINE_S
    assert len(platform.times("send")) < DEADLINE_S / BACKOFF_CAP_S + 5


async def test_an_outage_near_the_deadline_is_sat_out_all_the_same(platform, clock):
    platform.away_until = clock.monotonic() + DEADLINE_S + OUTAGE_S - 1
    words = written(clock, "네", every=DEADLINE_S)
    await answer(platform, clock).show(words, stream=False)
    assert list(platform.shown.values()) == ["네"]


async def test_what_may_have_been_shown_is_unknown_whatever_fails_after_it(clock):
    platform = Platform(clock, replace(EDITING, idempotent_send=True))
    platform.failures["send"] = [Unreachable("reset")] + [NotSent("away")] * 1000
    with pytest.raises(SendUnknown):
        await answer(platform, clock).show(written(clock, "네"), stream=True)
