"""What people can say about what is remembered of them."""

import asyncio
import json

import pytest

from kogpt_bot.messages import ActionKind, Author, ChannelKey
from kogpt_bot.store import Store
from tests.fakes.core import PERSON, ROOM, running

OTHER = Author("u2", "지은")


@pytest.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


ELSEWHERE = ChannelKey("fake", "elsewhere")


async def texts(store, key=ROOM):
    return [m.text for m in await store.history(key, 50)]


async def test_forgetting_is_of_this_person_in_this_channel(store):
    async with running(store) as core:
        await core.adapter.say("내 비밀은 떡볶이야")
        await core.settle(replied=1)
        await core.adapter.say("나는 지은이야", author=OTHER)
        await core.settle(replied=2)
        await core.adapter.say("저기에서도 말했어", channel="elsewhere")
        await core.settle(replied=3)
        result = await core.act(ActionKind.FORGET)
        assert (result.done, result.text) == (
            True,
            "여기에서 하신 말씀 1개와 그에 대한 답을 지웠어요.",
        )
        assert await texts(store) == ["나는 지은이야", "답 2"]
        assert await texts(store, ELSEWHERE) == ["저기에서도 말했어", "답 3"]
        await core.adapter.say("내 비밀이 뭐였지?")
        await core.settle(replied=4)
        assert "떡볶이" not in core.model.asks[-1].prompt.text


async def test_who_said_nothing_has_nothing_to_forget(store):
    async with running(store) as core:
        result = await core.act(ActionKind.FORGET)
        assert (result.done, result.text) == (False, "여기에서 하신 말씀은 저장되어 있지 않아요.")


async def test_a_forgotten_message_that_comes_again_is_not_answered_again(store):
    async with running(store) as core:
        await core.adapter.say("안녕", message_id="same")
        await core.settle(replied=1)
        await core.act(ActionKind.FORGET)
        await core.adapter.say("안녕", message_id="same")
        assert await texts(store) == []
        assert len(core.model.asks) == 1


async def test_what_waits_and_what_is_being_answered_goes_too(store):
    async with running(store) as core:
        core.model.hold = asyncio.Event()
        await core.adapter.say("첫째 비밀")
        await core.adapter.say("둘째 비밀")
        async with asyncio.timeout(5):
            while not core.model.asks:
                await asyncio.sleep(0.005)
        result = await core.act(ActionKind.FORGET)
        assert "2개" in result.text
        core.model.hold.set()
        await core.settle(expired=2)
        await core.lanes.close(5)
        assert await texts(store) == []
        assert len(core.model.asks) == 1


async def test_after_opting_out_nothing_is_stored_or_read(store):
    async with running(store) as core:
        await core.adapter.say("코코야, 내 비밀은 떡볶이야", direct=False)
        await core.settle(replied=1)
        result = await core.act(ActionKind.OPT_OUT)
        assert result.text == (
            "하신 말씀 1개를 모두 지웠어요. 앞으로 하시는 말씀은 저장하지도, 읽지도 않을게요. "
            "다시 대화하고 싶으면 기억허락을 해 주세요."
        )
        await core.adapter.say("혼잣말이야", direct=False)
        assert core.adapter.refusals == []
        await core.adapter.say("코코야 듣고 있어?", direct=False)
        await core.adapter.say("코코야!", direct=False)
        assert len(core.adapter.refusals) == 1
        assert "‘기억허락’" in core.adapter.refusals[0][1]
        assert await texts(store) == []
        await core.adapter.say("코코야 안녕", author=OTHER, direct=False)
        await core.settle(replied=2)
        assert "혼잣말" not in core.model.asks[-1].prompt.text


async def test_commands_still_work_after_opting_out_and_nothing_is_kept_of_them(store):
    async with running(store) as core:
        await core.adapter.say("안녕", author=OTHER)
        await core.settle(replied=1)
        await core.act(ActionKind.OPT_OUT)
        assert (await core.act(ActionKind.HELP)).done
        good = await core.act(ActionKind.GOOD)
        assert not good.done
        assert "기억허락을 해 주세요" in good.text
        assert (await core.act(ActionKind.REPORT, value="이상해요")).done
        (report,) = await store.people.reports()
        assert report["person"] == ""
        assert (await core.act(ActionKind.OPT_IN)).done
        assert not (await core.act(ActionKind.OPT_IN)).done
        await core.adapter.say("다시 안녕")
        await core.settle(replied=2)
        assert (await texts(store))[-2:] == ["다시 안녕", "답 2"]


async def test_an_opt_out_outlives_a_restart_and_is_of_one_platform(store):
    async with running(store) as core:
        await core.act(ActionKind.OPT_OUT)
    async with running(store) as core:
        await core.people.load()
        assert core.people.has("fake", PERSON.id)
        assert not core.people.has("fake", OTHER.id)
        assert not core.people.has("other", PERSON.id)
        await core.adapter.say("기억하지 마")
        assert await texts(store) == []


async def test_an_edited_message_of_somebody_who_opted_out_is_not_taken(store):
    from datetime import UTC, datetime

    from kogpt_bot.messages import Incoming

    async with running(store) as core:
        id_ = await core.adapter.say("처음", direct=False)
        await core.act(ActionKind.OPT_OUT)
        await core.inbox.amend(Incoming(ROOM, id_, PERSON, "고친 말", datetime.now(UTC)))
        assert await texts(store) == []


async def test_the_export_has_everything_of_this_person_and_of_nobody_else(store):
    async with running(store) as core:
        await core.adapter.say("내 말")
        await core.settle(replied=1)
        await core.adapter.say("남의 말", author=OTHER)
        await core.settle(replied=2)
        await core.act(ActionKind.GOOD)
        await core.act(ActionKind.REPORT, value="별로예요")
        await core.act(ActionKind.SET, name="stream", value="off")
        result = await core.act(ActionKind.EXPORT)
        assert result.text == "저장된 내 자료예요: 메시지 1개, 답 1개."
        assert result.attachment.name == "kogpt-bot-export.json"
        data = json.loads(result.attachment.content)
        assert data["user"] == PERSON.id
        assert [each["text"] for each in data["messages"]] == ["내 말"]
        assert [each["text"] for each in data["answers"]] == ["답 1"]
        assert [each["verdict"] for each in data["feedback"]] == ["good"]
        assert [each["reason"] for each in data["reports"]] == ["별로예요"]
        assert [each["key"] for each in data["settings_changed"]] == ["stream"]
        assert "남의 말" not in result.attachment.content.decode()
        await core.act(ActionKind.OPT_OUT)
        data = json.loads((await core.act(ActionKind.EXPORT)).attachment.content)
        assert data["opted_out_since"]
        assert data["messages"] == data["answers"] == data["feedback"] == data["reports"] == []
