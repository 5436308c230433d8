"""From a message to its answer, with a fake platform and a scripted model."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from kogpt_bot.clock import SystemClock
from kogpt_bot.config import Limits
from kogpt_bot.conversation.settings import AnswerPolicy, SettingsLayers
from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationInterrupted,
    GenerationOutOfMemory,
    GenerationRejected,
    GenerationUnavailable,
    ModelError,
    StoreError,
)
from kogpt_bot.messages import ActionKind, Author
from kogpt_bot.store.tables import turns
from tests.fakes.clock import FakeClock
from tests.fakes.core import AT_ONCE, ROOM, running


async def test_a_message_is_answered_and_recorded(store):
    async with running(store) as core:
        await core.adapter.say("안녕")
        assert await core.adapter.wait_for_final() == ["답 1"]
        await core.settle(replied=1)
        assert [m.text for m in await store.history(ROOM, 9)] == ["안녕", "답 1"]
        assert core.adapter.typed


async def test_the_conversation_goes_on_with_its_history(store):
    async with running(store) as core:
        for number in range(3):
            await core.adapter.say(f"{number}번 말")
            await core.adapter.wait_for_final(number + 1)
            await core.settle(replied=number + 1)
        body = core.model.asks[-1].prompt.text.split("\n\n", 1)[1]
        assert "민수: 0번 말\n코코: 답 1\n민수: 1번 말\n코코: 답 2\n민수: 2번 말\n코코:" in body


async def test_channels_do_not_hear_of_each_other(store):
    async with running(store) as core:
        await asyncio.gather(*(core.adapter.say(f"비밀{n}", channel=f"c{n}") for n in range(20)))
        await core.settle(replied=20)
        for ask in core.model.asks:
            own = ask.key.channel.removeprefix("c")
            said = [w for w in ask.prompt.text.split() if w.startswith("비밀")]
            assert said == [f"비밀{own}"]


async def test_a_second_delivery_is_not_answered_again(store):
    async with running(store) as core:
        await core.adapter.say("안녕", message_id="same")
        await core.settle(replied=1)
        await core.adapter.say("안녕", message_id="same")
        assert await store.turn_states() == {"replied": 1}
        assert len(core.model.asks) == 1


async def test_what_is_not_for_the_bot_is_context_only(store):
    async with running(store) as core:
        await core.adapter.say("나는 떡볶이가 좋아", direct=False)
        await core.adapter.say("코코야 뭐 먹을까?", direct=False, author=Author("u2", "지수"))
        await core.settle(replied=1)
        assert (
            "민수: 나는 떡볶이가 좋아\n지수: 코코야 뭐 먹을까?\n코코:"
            in core.model.asks[0].prompt.text
        )


async def test_too_long_and_empty_messages_are_refused_in_words(store):
    async with running(store, limits=Limits(message_bytes=100)) as core:
        for text in ("가" * 40, "", " \n "):
            await core.adapter.say(text)
        assert [text for _, text in core.adapter.refusals] == [
            "메시지가 너무 길어요. 조금 줄여서 다시 보내 주세요.",
            "메시지가 비어 있어요.",
            "메시지가 비어 있어요.",
        ]
        assert await store.history(ROOM, 9) == []


async def test_a_full_lane_says_busy_and_loses_nothing(store):
    async with running(store, limits=Limits(waiting_per_channel=2, **AT_ONCE)) as core:
        core.model.hold = asyncio.Event()
        for number in range(5):
            await core.adapter.say(f"{number}")
            await asyncio.sleep(0.05)
        assert [text for _, text in core.adapter.refusals] == [
            "지금 바빠요. 잠시 후 다시 말해 주세요."  # once a minute
        ]
        core.model.hold.set()
        await core.settle(replied=3, refused=2)
        assert len(await store.history(ROOM, 20)) == 8


async def test_stopping_keeps_what_was_shown(store):
    async with running(store) as core:
        core.model.hold = asyncio.Event()
        core.model.scripts = [[" 여기까지 말하고 열두 자는 남겨 둬요", " 그리고 더"]]
        await core.adapter.say("길게 말해 줘")
        async with asyncio.timeout(5):
            while not any(m.text == "여기까지 말하고" for m in core.adapter.shown[ROOM].values()):
                await asyncio.sleep(0.005)
        assert (await core.act(ActionKind.STOP)).done
        assert await core.adapter.wait_for_final() == ["여기까지 말하고"]
        await core.settle(replied=1)
        result = await core.act(ActionKind.STOP)
        assert (result.done, result.text) == (False, "지금은 쓰고 있는 답이 없어요.")


async def test_regenerating_replaces_the_answer(store):
    async with running(store) as core:
        assert not (await core.act(ActionKind.REGENERATE)).done
        await core.adapter.say("안녕")
        await core.settle(replied=1)
        assert (await core.act(ActionKind.REGENERATE)).done
        await core.settle(replied=2)
        assert await core.adapter.wait_for_final() == ["답 2"]
        assert [m.text for m in await store.history(ROOM, 9)] == ["안녕", "답 2"]


async def test_clearing_forgets(store):
    async with running(store) as core:
        await core.adapter.say("내 비밀은 떡볶이야")
        await core.settle(replied=1)
        assert (await core.act(ActionKind.CLEAR)).done
        await core.adapter.say("내 비밀이 뭐게?")
        await core.settle(replied=2)
        assert "떡볶이" not in core.model.asks[-1].prompt.text
        assert len(await core.inbox.history(ROOM, 9)) == 2


@pytest.mark.parametrize(
    "failure",
    [
        GenerationUnavailable("restarting"),
        GenerationBusy(0.01),
        GenerationInterrupted("gone"),
        GenerationError("not a number"),
    ],
)
async def test_a_break_before_anything_was_shown_is_tried_again(store, failure):
    async with running(store) as core:
        core.model.scripts = [[failure], [failure], [" 이제 됐어요"]]
        await core.adapter.say("안녕")
        assert await core.adapter.wait_for_final() == ["이제 됐어요"]
        await core.settle(replied=1)


class Hasty(SystemClock):
    """Keeps how long was slept, and sleeps no longer than a moment."""

    def __init__(self):
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await super().sleep(min(seconds, 0.001))


def asking_to_wait(error, seconds):
    error.seconds = seconds
    return error


@pytest.mark.parametrize("kind", [GenerationUnavailable, GenerationOutOfMemory, GenerationError])
@pytest.mark.parametrize(("seconds", "pause"), [(7.0, 7.0), (0.0, 0.25), (None, 0.25)])
async def test_a_service_that_asks_to_wait_is_left_alone_so_long(store, kind, seconds, pause):
    clock = Hasty()
    async with running(store, clock=clock) as core:
        core.model.scripts = [[asking_to_wait(kind("no"), seconds)], [" 이제 됐어요"]]
        await core.adapter.say("안녕")
        assert await core.adapter.wait_for_final() == ["이제 됐어요"]
    assert [each for each in clock.slept if each in (0.25, 7.0)] == [pause]


async def test_memory_that_never_suffices_is_asked_for_three_times(store):
    async with running(store, clock=Hasty()) as core:
        core.model.scripts = [[GenerationOutOfMemory("no")] for _ in range(9)]
        await core.adapter.say("안녕")
        assert (await core.adapter.wait_for_final())[0].startswith("지금은 답할 수 없어요")
        assert len(core.model.asks) == 3


async def test_what_the_service_gave_up_as_late_is_not_tried_again(store):
    async with running(store, clock=Hasty()) as core:
        core.model.scripts = [[GenerationExpired("the deadline passed")], [" 이제 됐어요"]]
        await core.adapter.say("안녕")
        assert (await core.adapter.wait_for_final())[0].startswith("답할 때를 놓쳤어요")
        assert len(core.model.asks) == 1


async def test_a_break_after_something_was_shown_keeps_it(store):
    async with running(store) as core:
        core.model.scripts = [[" 여기까지는 이미 모두에게 보였", GenerationInterrupted("gone")]]
        await core.adapter.say("안녕")
        assert await core.adapter.wait_for_final() == ["여기까지는 이미 모두에게 보였"]
        await core.settle(replied=1)


@pytest.mark.parametrize(
    ("failure", "notice"),
    [
        (ModelError("no weights"), "모델을 불러오지 못해서"),
        (GenerationRejected("bad"), "지금은 답할 수 없어요"),
    ],
)
async def test_a_failure_for_good_is_said_not_kept_silent(store, failure, notice):
    async with running(store) as core:
        core.model.unavailable = failure
        await core.adapter.say("안녕")
        assert (await core.adapter.wait_for_final())[0].startswith(notice)
        await core.settle(expired=1)


async def test_a_service_that_does_not_come_back_is_said_at_the_deadline(store):
    async with running(store, limits=Limits(reply_deadline_s=1, **AT_ONCE)) as core:
        core.model.unavailable = GenerationUnavailable("loading")
        await core.adapter.say("안녕")
        assert (await core.adapter.wait_for_final())[0].startswith("지금은 답할 수 없어요")
        await core.settle(expired=1)


async def test_an_answer_that_has_not_begun_by_its_deadline_is_given_up(store):
    async with running(store, limits=Limits(reply_deadline_s=1, **AT_ONCE)) as core:
        core.model.busy = asyncio.Event()
        await core.adapter.say("안녕")
        assert (await core.adapter.wait_for_final())[0].startswith("답할 때를 놓쳤어요")
        await core.settle(expired=1)
        assert core.model.closed == 1  # the service hears that nobody waits


BEGINS_S = 3  # in which also a slow machine begins an answer


async def test_an_answer_that_has_begun_is_heard_to_its_end(store):
    async with running(store, limits=Limits(reply_deadline_s=BEGINS_S, **AT_ONCE)) as core:
        core.model.hold = asyncio.Event()
        core.model.scripts = [["이 이야기는 시작하면 아주 길어요. ", "그래도 끝이 있어요."]]
        await core.adapter.say("안녕")
        async with asyncio.timeout(10):
            while not core.adapter.shown[ROOM]:
                await asyncio.sleep(0.01)
        await asyncio.sleep(BEGINS_S)  # beyond the deadline
        core.model.hold.set()
        whole = "이 이야기는 시작하면 아주 길어요. 그래도 끝이 있어요."
        assert await core.adapter.wait_for_final() == [whole]


async def test_an_answer_that_is_screened_whole_has_begun_before_it_is_shown(store):
    layers = SettingsLayers({"fake": {"profanity.policy": AnswerPolicy.BLOCK}})
    limits = Limits(reply_deadline_s=BEGINS_S, **AT_ONCE)
    async with running(store, limits=limits, layers=layers) as core:
        core.model.hold = asyncio.Event()
        core.model.scripts = [["이 이야기는 시작하면 ", "아주 길어요."]]
        await core.adapter.say("안녕")
        await asyncio.sleep(BEGINS_S + 0.2)  # beyond the deadline
        assert not core.adapter.shown[ROOM]
        core.model.hold.set()
        assert await core.adapter.wait_for_final() == ["이 이야기는 시작하면 아주 길어요."]


async def test_a_channel_that_forbids_is_recorded_as_refused(store):
    async with running(store) as core:
        core.adapter.forbidden.add(ROOM)
        await core.adapter.say("안녕")
        await core.settle(refused=1)
        core.adapter.forbidden.clear()
        await core.adapter.say("이제는?")
        await core.settle(refused=1, replied=1)


async def test_the_language_of_notices_follows_the_channel(store):
    layers = SettingsLayers({"fake": {"language": "en"}})
    async with running(store, layers=layers, limits=Limits(message_bytes=100)) as core:
        await core.adapter.say("x" * 200)
        assert core.adapter.refusals[0][1] == "The message is too long. Please shorten it."


async def test_fifty_rooms_at_once(store):
    async with running(store) as core:
        await asyncio.gather(*(core.adapter.say("안녕", channel=f"c{n}") for n in range(50)))
        await core.settle(replied=50)
        assert sum(len(shown) for shown in core.adapter.shown.values()) == 50


BURST = Limits(burst_window_s=0.3, messages_per_minute=1000)


async def test_a_burst_of_one_speaker_is_answered_once(store):
    # A window that a slow machine does not miss between two messages.
    async with running(store, limits=replace(BURST, burst_window_s=2)) as core:
        for text in ("있잖아", "나 오늘", "시험 봤어"):
            await core.adapter.say(text)
        await core.settle(replied=3)
        assert len([m for m in core.adapter.shown[ROOM].values() if m.final]) == 1
        body = core.model.asks[-1].prompt.text
        assert "민수: 있잖아\n민수: 나 오늘\n민수: 시험 봤어\n코코:" in body


async def test_a_burst_that_comes_all_at_once_is_answered_once(store):
    async with running(store, limits=BURST) as core:
        await asyncio.gather(*(core.adapter.say(f"{n}번") for n in range(5)))
        await core.settle(replied=5)
        assert len(core.adapter.shown[ROOM]) == 1


async def test_two_speakers_are_no_burst(store):
    async with running(store, limits=BURST) as core:
        await core.adapter.say("안녕")
        await core.adapter.say("나도 안녕", author=Author("u2", "지수"))
        await core.settle(replied=2)
        assert len(core.adapter.shown[ROOM]) == 2


async def test_the_turns_of_a_burst_say_which_one_answered_them(store):
    async with running(store, limits=BURST) as core:
        for text in ("하나", "둘"):
            await core.adapter.say(text)
        await core.settle(replied=2)
        _, reply = await store.last_replied(ROOM)
        async with store._read() as connection:
            rows = (await connection.execute(select(turns).order_by(turns.c.id))).all()
        assert [row.outcome.get("answered_by") for row in rows] == [rows[1].id, None]
        assert [row.reply_id for row in rows] == [None, reply.id]
        assert all(row.ended_at for row in rows)


async def test_who_writes_too_fast_is_told_once_and_the_others_are_answered(store):
    limits = Limits(messages_per_minute=2, burst_window_s=0)
    async with running(store, limits=limits) as core:
        for number in range(5):
            await core.adapter.say(f"{number}")
            await core.settle(**states(replied=min(number + 1, 2), refused=max(0, number - 1)))
        assert [text for _, text in core.adapter.refusals] == [
            "메시지가 너무 빨리 와요. 조금만 천천히 말해 주세요."
        ]
        await core.adapter.say("나는 처음이야", author=Author("u2", "지수"))
        await core.settle(replied=3, refused=3)
        assert len(await store.history(ROOM, 20)) == 9


def states(**counts):
    return {state: count for state, count in counts.items() if count}


class FailingStore:
    """A store whose writes fail for a while, as a full disk makes them."""

    def __init__(self, store):
        self._store = store
        self.failing = False

    def __getattr__(self, name):
        real = getattr(self._store, name)

        async def call(*arguments):
            if self.failing:
                raise StoreError("the database failed: database or disk is full")
            return await real(*arguments)

        return call if asyncio.iscoroutinefunction(real) else real


async def test_what_happens_while_the_database_fails_is_recorded_when_it_works_again(store):
    failing = FailingStore(store)
    async with running(failing, clock=FakeClock()) as core:
        core.model.hold = asyncio.Event()
        await core.adapter.say("안녕")
        await core.settle(generating=1)
        failing.failing = True
        core.model.hold.set()
        with pytest.raises(StoreError):
            await core.adapter.say("이건 저장되지 않아요")
        for _ in range(50):
            await asyncio.sleep(0)
        assert not [m for m in core.adapter.shown[ROOM].values() if m.final]
        failing.failing = False
        await core.settle(replied=1)
        assert await core.adapter.wait_for_final() == ["답 1"]
        assert [m.text for m in await store.history(ROOM, 9)] == ["안녕", "답 1"]
