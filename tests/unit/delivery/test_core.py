"""From a message to its answer, with a fake platform and a scripted model."""

import asyncio

import pytest

from kogpt_bot.config import Limits
from kogpt_bot.conversation.settings import SettingsLayers
from kogpt_bot.errors import (
    GenerationBusy,
    GenerationInterrupted,
    GenerationRejected,
    GenerationUnavailable,
    ModelError,
)
from kogpt_bot.messages import ActionKind, Author
from kogpt_bot.store import Store
from kogpt_bot.store.database import sqlite_url
from tests.fakes.core import ROOM, running


@pytest.fixture
async def store(tmp_path):
    store = await Store.open(sqlite_url(tmp_path / "db.sqlite3"))
    yield store
    await store.close()


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
    async with running(store, limits=Limits(waiting_per_channel=2)) as core:
        core.model.hold = asyncio.Event()
        for number in range(5):
            await core.adapter.say(f"{number}")
            await asyncio.sleep(0.05)
        assert [text for _, text in core.adapter.refusals] == [
            "지금 바빠요. 잠시 후 다시 말해 주세요."
        ] * 2
        core.model.hold.set()
        await core.settle(replied=3)
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
    [GenerationUnavailable("restarting"), GenerationBusy(0.01), GenerationInterrupted("gone")],
)
async def test_a_break_before_anything_was_shown_is_tried_again(store, failure):
    async with running(store) as core:
        core.model.scripts = [[failure], [failure], [" 이제 됐어요"]]
        await core.adapter.say("안녕")
        assert await core.adapter.wait_for_final() == ["이제 됐어요"]
        await core.settle(replied=1)


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
    async with running(store, limits=Limits(reply_deadline_s=1)) as core:
        core.model.unavailable = GenerationUnavailable("loading")
        await core.adapter.say("안녕")
        assert (await core.adapter.wait_for_final())[0].startswith("지금은 답할 수 없어요")
        await core.settle(expired=1)


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
