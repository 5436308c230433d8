"""After a crash: what was interrupted is finished, shown once, or recorded as unknown."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kogpt_bot.adapter import Capabilities
from kogpt_bot.clock import SystemClock
from kogpt_bot.config import Limits
from kogpt_bot.delivery.keeper import LaneKeeper
from kogpt_bot.errors import GenerationRejected
from kogpt_bot.messages import Author, Incoming
from kogpt_bot.store import TurnPlan, TurnState
from kogpt_bot.testing import FakeAdapter
from tests.fakes.core import AT_ONCE, ROOM, Core, ScriptedModel

KEYED = Capabilities(
    max_length=2000, edits=True, min_edit_interval_s=0.01, deletes=True, idempotent_send=True
)
PLAIN = replace(KEYED, idempotent_send=False)
WHOLE = replace(PLAIN, edits=False, max_length=100)


class CrashingAdapter(FakeAdapter):
    """A platform whose daemon dies in the middle of a call: before or after it was carried out."""

    def __init__(self, capabilities):
        super().__init__(capabilities)
        self.hang_before = self.hang_after = 0  # the n-th send
        self.sends = 0
        self.hanging = asyncio.Event()

    async def send(self, key, message):
        self.sends += 1
        if self.sends == self.hang_before:
            await self._hang()
        id_ = await super().send(key, message)
        if self.sends == self.hang_after:
            await self._hang()
        return id_

    async def _hang(self):
        self.hanging.set()
        await asyncio.Event().wait()

    def restarted(self):
        """Return the adapter of the next start, for the same platform."""
        after = CrashingAdapter(self.capabilities)
        after.shown, after._nonces = self.shown, self._nonces
        after._ids = self._ids
        return after

    def texts(self):
        return [message.text for message in self.shown[ROOM].values()]


def keeper(core):
    return LaneKeeper(core.store, core.lanes, {"fake"}, core.clock, resumes=True)


class Daemon:
    """The core around an adapter; `crash` ends it without a word."""

    def __init__(self, store, adapter, *scripts, clock=None):
        self.model = ScriptedModel()
        self.model.scripts = list(scripts)
        self.adapter = adapter
        limits = Limits(reply_deadline_s=60, **AT_ONCE)
        self.core = Core(store, self.model, limits=limits, adapter=adapter, clock=clock)

    async def __aenter__(self):
        self._task = asyncio.create_task(self.adapter.run(self.core.inbox))
        await keeper(self.core).start()
        return self

    async def __aexit__(self, *_):
        await self.core.lanes.close(0)  # cancels what is being written: nothing is recorded
        self._task.cancel()
        await asyncio.wait([self._task])


async def crashed(store, adapter, *scripts, say="안녕"):
    """Run a daemon until it hangs in a send, and let it die there."""
    async with Daemon(store, adapter, *scripts) as daemon:
        await adapter.say(say)
        await asyncio.wait_for(adapter.hanging.wait(), 5)
    return daemon


@pytest.mark.parametrize("moment", ["hang_before", "hang_after"])
async def test_with_a_key_an_interrupted_answer_is_shown_once(store, moment):
    adapter = CrashingAdapter(replace(KEYED, edits=False))
    setattr(adapter, moment, 1)
    await crashed(store, adapter, [" 첫 답"])
    async with Daemon(store, adapter.restarted(), [" 다른 답"]) as again:
        await again.core.settle(replied=1)
        assert again.adapter.texts() == ["첫 답"]  # it was whole: nothing is generated anew
        assert again.model.asks == []
        assert [m.text for m in await store.history(ROOM, 9)] == ["안녕", "첫 답"]
        assert await store.outbox_depth() == 0


@pytest.mark.parametrize("moment", ["hang_before", "hang_after"])
async def test_with_a_key_a_streamed_answer_is_shown_once(store, moment):
    adapter = CrashingAdapter(KEYED)
    setattr(adapter, moment, 1)
    await crashed(store, adapter, [" 첫", " 답"])
    async with Daemon(store, adapter.restarted(), [" 다른 답"]) as again:
        await again.core.settle(replied=1)
        assert again.adapter.texts() == ["다른 답"]  # written anew, in the place of the first
        assert [m.text for m in await store.history(ROOM, 9)] == ["안녕", "다른 답"]


@pytest.mark.parametrize("moment", ["hang_before", "hang_after"])
async def test_without_a_key_it_is_unknown_and_not_repeated(store, moment):
    adapter = CrashingAdapter(WHOLE)
    setattr(adapter, moment, 1)
    await crashed(store, adapter, [" 첫 답"])
    async with Daemon(store, adapter.restarted()) as again:
        await again.core.settle(unknown=1)
        assert again.adapter.sends == 0
        assert len(again.adapter.texts()) == (moment == "hang_after")


async def half_shown(store, adapter):
    """Run a daemon until an answer has begun to show, and let it die there."""
    script = [" 어제는 비가 하루 종일 많이 내렸어요", " 그리고"]
    async with Daemon(store, adapter, script) as daemon:
        daemon.model.hold = asyncio.Event()
        await adapter.say("날씨 어때?")
        async with asyncio.timeout(5):
            while not adapter.shown[ROOM] or await store.outbox_depth():
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("capabilities", [KEYED, PLAIN])
async def test_a_half_shown_answer_is_written_anew_in_its_place(store, capabilities):
    adapter = CrashingAdapter(capabilities)
    await half_shown(store, adapter)
    (text,) = adapter.texts()
    assert "어제는 비가 하루 종일 많이 내렸어요".startswith(text)
    async with Daemon(store, adapter.restarted(), [" 오늘은 맑아요"]) as again:
        await again.core.settle(replied=1)
        assert again.adapter.texts() == ["오늘은 맑아요"]
        history = await store.history(ROOM, 9)
        assert history[-1].platform_ids == tuple(adapter.shown[ROOM])


async def test_what_was_shown_of_an_answer_that_does_not_begin_again_is_all_of_it(store):
    adapter = CrashingAdapter(replace(KEYED, buttons=True))
    await half_shown(store, adapter)
    (shown,) = adapter.shown[ROOM].values()
    assert not shown.final
    async with Daemon(store, adapter.restarted()) as again:
        again.model.unavailable = GenerationRejected("the prompt is too long")
        await again.core.settle(replied=1)
        (ended,) = again.adapter.shown[ROOM].values()
    assert ended.final
    assert ended.text == shown.text


async def test_the_messages_of_a_long_answer_that_are_missing_are_sent(store):
    adapter = CrashingAdapter(replace(WHOLE, idempotent_send=True))
    adapter.hang_before = 2
    sentence = "이 문장은 스무 글자쯤 됩니다. "
    await crashed(store, adapter, [sentence * 12])
    assert len(adapter.texts()) == 1
    async with Daemon(store, adapter.restarted()) as again:
        await again.core.settle(replied=1)
        assert "".join(" ".join(again.adapter.texts()).split()) == "".join((sentence * 12).split())
        (_, answer) = await store.history(ROOM, 9)
        assert answer.platform_ids == tuple(adapter.shown[ROOM])


@pytest.mark.parametrize("capabilities", [WHOLE, PLAIN])
async def test_without_a_key_a_crash_leaves_one_unknown_at_most(store, capabilities):
    adapter = CrashingAdapter(capabilities)
    adapter.hang_before = 2
    async with Daemon(store, adapter) as daemon:
        for number in range(6):
            await adapter.say("안녕", channel=f"c{number}")
        await asyncio.wait_for(adapter.hanging.wait(), 30)
    assert adapter.sends == 2  # the others wait until it is known what came of the second
    async with Daemon(store, adapter.restarted()) as daemon:
        await daemon.core.settle(replied=5, unknown=1)


async def test_a_key_that_the_platform_has_forgotten_is_not_used_again(store):
    adapter = CrashingAdapter(KEYED)
    adapter.hang_before = 1
    await crashed(store, adapter)
    later = ShiftedClock(hours=1)
    async with Daemon(store, adapter.restarted(), clock=later) as again:
        await again.core.settle(unknown=1)
        assert again.adapter.texts() == []


class ShiftedClock(SystemClock):
    """A machine whose clock was set."""

    def __init__(self, **shift):
        self.shift = timedelta(**shift)

    def now(self):
        return super().now() + self.shift


async def test_an_answer_that_comes_too_late_is_a_note_once_a_channel(store):
    await wait_in_store(store, "첫째", "둘째", age=timedelta(hours=1))
    async with Daemon(store, CrashingAdapter(KEYED)) as again:
        again.adapter.shown[ROOM] = {}
        await again.core.settle(expired=2)
        assert again.adapter.texts() == ["답할 때를 놓쳤어요. 다시 한번 말해 주세요."]
        assert again.model.asks == []


async def test_a_clock_that_was_set_back_makes_nothing_late(store):
    await wait_in_store(store, "방금", age=timedelta(hours=-1))
    async with Daemon(store, CrashingAdapter(KEYED)) as again:
        again.adapter.shown[ROOM] = {}
        await again.core.settle(replied=1)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_jumps_while_it_runs_changes_nothing(store, hours):
    clock = ShiftedClock()
    async with Daemon(store, CrashingAdapter(KEYED), clock=clock) as daemon:
        daemon.model.hold = asyncio.Event()
        await daemon.adapter.say("하나")
        await daemon.adapter.say("둘")
        clock.shift = timedelta(hours=hours)
        daemon.model.hold.set()
        await daemon.adapter.say("셋")
        await daemon.core.settle(replied=3)


async def test_after_three_attempts_a_turn_is_given_up(store):
    await wait_in_store(store, "이 말을 하면 죽어요", age=timedelta(0))
    (turn,) = await store.claim({"fake"})
    for _ in range(3):
        await store.begin(turn, datetime.now(UTC))
    async with Daemon(store, CrashingAdapter(KEYED)) as again:
        again.adapter.shown[ROOM] = {}
        await again.core.settle(dead=1)
        assert again.adapter.texts() == ["지금은 답할 수 없어요. 잠시 후 다시 말해 주세요."]


async def test_what_is_in_a_lane_already_is_not_taken_up_twice(store):
    async with Daemon(store, CrashingAdapter(KEYED)) as daemon:
        daemon.model.hold = asyncio.Event()
        for text in ("하나", "둘"):
            await daemon.adapter.say(text)
        await keeper(daemon.core).take_up({"fake"})
        daemon.model.hold.set()
        await daemon.core.settle(replied=2)
        assert len(daemon.model.asks) == 2


async def wait_in_store(store, *texts, age):
    at = datetime.now(UTC) - age
    for number, text in enumerate(texts):
        message = Incoming(ROOM, f"old{number}", Author("u1", "민수"), text, at)
        recorded = await store.record(message, at, TurnPlan("direct"))
        assert recorded[1].state is TurnState.WAITING
