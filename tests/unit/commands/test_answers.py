"""Wishes about answers: who may, what happens to the answer, what is kept."""

import asyncio

import pytest

from kogpt_bot.messages import ActionKind, Author, ChannelKey
from tests.fakes.core import PERSON, ROOM, running

OTHER = Author("u2", "지은")


async def answered(core, text="안녕", count=1, **fields):
    """Let a person be answered; return the answer's id on the platform."""
    await core.adapter.say(text, **fields)
    await core.settle(replied=count)
    return list(core.adapter.shown[ROOM])[-1]


def kinds(core, id_):
    return [kind.value for kind in core.adapter.shown[ROOM][id_].offers]


async def test_an_answer_offers_what_can_be_done_with_it(store):
    async with running(store) as core:
        id_ = await answered(core)
        assert kinds(core, id_) == ["regenerate", "good", "bad", "delete"]
        past = await core.inbox.history(ROOM, 9)
        assert [len(each.offers) for each in past] == [0, 4]


async def test_while_it_is_written_it_offers_to_stop(store):
    async with running(store) as core:
        core.model.hold = asyncio.Event()
        core.model.scripts = [[" 여기까지 말하고 열두 자는 남겨 둬요", " 그리고 더"]]
        await core.adapter.say("길게 말해 줘")
        async with asyncio.timeout(5):
            while not any(m.offers for m in core.adapter.shown[ROOM].values()):
                await asyncio.sleep(0.005)
        (id_,) = core.adapter.shown[ROOM]
        assert kinds(core, id_) == ["stop"]
        assert (await core.adapter.press(id_, ActionKind.STOP)).done
        await core.settle(replied=1)
        assert "stop" not in kinds(core, id_)


async def test_buttons_can_be_switched_off(store):
    async with running(store) as core:
        await core.act(ActionKind.SET, name="buttons", value="off")
        assert kinds(core, await answered(core)) == []
        assert not any(each.offers for each in await core.inbox.history(ROOM, 9))


async def test_only_the_last_part_of_a_long_answer_has_buttons(store):
    async with running(store) as core:
        core.model.scripts = [["가 나 다. " * 450]]
        await core.adapter.say("길게")
        await core.settle(replied=1)
        offers = [len(m.offers) for m in core.adapter.shown[ROOM].values()]
        assert len(offers) > 1
        assert offers == [0] * (len(offers) - 1) + [4]
        last = list(core.adapter.shown[ROOM])[-1]
        assert (await core.adapter.press(last, ActionKind.DELETE)).done
        assert core.adapter.shown[ROOM] == {}


@pytest.mark.parametrize(
    "kind", [ActionKind.REGENERATE, ActionKind.DELETE, ActionKind.STOP], ids=str
)
async def test_in_a_group_the_asker_and_managers_may_and_others_not(store, kind):
    async with running(store) as core:
        if kind is ActionKind.STOP:
            core.model.hold = asyncio.Event()
            await core.adapter.say("코코야 안녕", direct=False)
            async with asyncio.timeout(5):
                while await core.parts.answers.open_turn(ROOM) is None:
                    await asyncio.sleep(0.005)
        else:
            await answered(core, "코코야 안녕", direct=False)
        refused = await core.act(kind, author=OTHER, direct=False)
        assert (refused.done, refused.text) == (
            False,
            "물어본 분이나 이 채널을 관리하는 분만 할 수 있어요.",
        )
        assert (await core.act(kind, author=PERSON, direct=False)).done
        if kind is not ActionKind.STOP:
            await core.act(kind, author=OTHER, direct=False, manager=True)


async def test_an_older_answer_is_written_anew_where_it_stands(store):
    async with running(store) as core:
        first = await answered(core, "하나")
        await answered(core, "둘", 2)
        assert (await core.act(ActionKind.REGENERATE, message_id=first)).done
        await core.settle(replied=3)
        texts = [m.text for m in await store.history(ROOM, 9)]
        assert texts == ["하나", "답 3", "둘", "답 2"]
        assert first not in core.adapter.shown[ROOM]


async def test_a_deleted_answer_is_gone_from_screen_history_and_prompts(store):
    async with running(store) as core:
        id_ = await answered(core)
        assert (await core.act(ActionKind.DELETE, message_id=id_)).text == "답을 지웠어요."
        assert id_ not in core.adapter.shown[ROOM]
        assert [m.text for m in await store.history(ROOM, 9)] == ["안녕"]
        again = await core.act(ActionKind.DELETE, message_id=id_)
        assert not again.done
        await answered(core, "또 안녕", 2)
        assert "답 1" not in core.model.asks[-1].prompt.text


async def test_another_channels_answer_is_not_known(store):
    async with running(store) as core:
        id_ = await answered(core)
        for kind in (ActionKind.REGENERATE, ActionKind.DELETE, ActionKind.GOOD, ActionKind.REPORT):
            result = await core.act(kind, channel="elsewhere", message_id=id_)
            assert not result.done
        assert id_ in core.adapter.shown[ROOM]


async def test_a_message_that_did_not_call_is_answered_on_request(store):
    async with running(store) as core:
        id_ = await core.adapter.say("떡볶이 맛있다", direct=False)
        result = await core.act(ActionKind.ANSWER, author=OTHER, direct=False, message_id=id_)
        assert (result.done, result.text) == (True, "이 메시지에 답할게요.")
        await core.settle(replied=1)
        assert [m.reply_to for m in await store.history(ROOM, 9)] == ["", id_]
        again = await core.act(ActionKind.ANSWER, message_id=id_)
        assert "이미 답한 메시지예요" in again.text
        unknown = await core.act(ActionKind.ANSWER, message_id="nothing")
        assert unknown.text == "그 메시지는 기억하고 있지 않아요."


async def test_a_message_that_is_being_answered_is_not_answered_twice(store):
    async with running(store) as core:
        core.model.hold = asyncio.Event()
        id_ = await core.adapter.say("안녕")
        result = await core.act(ActionKind.ANSWER, message_id=id_)
        assert result.text == "지금 답하고 있어요."
        core.model.hold.set()
        await core.settle(replied=1)


async def test_a_button_that_is_pressed_twice_acts_once(store):
    async with running(store) as core:
        id_ = await answered(core)
        presses = (core.act(ActionKind.REGENERATE, message_id=id_) for _ in range(3))
        results = await asyncio.gather(*presses)
        assert sorted(result.done for result in results) == [False, False, True]
        await core.settle(replied=2)
        asked = await core.adapter.say("떡볶이 맛있다", direct=False)
        presses = (core.act(ActionKind.ANSWER, message_id=asked) for _ in range(3))
        results = await asyncio.gather(*presses)
        assert sorted(result.done for result in results) == [False, False, True]
        await core.settle(replied=3)
        assert len(core.model.asks) == 3


async def feedback(store, core):
    export = await store.export.of(core.pseudonyms.person("fake", PERSON.id), "fake", PERSON.id)
    return [(each["answer"], each["verdict"]) for each in export["feedback"]]


async def test_a_changed_mind_replaces_feedback(store):
    async with running(store) as core:
        id_ = await answered(core)
        assert "좋은 답" in (await core.adapter.press(id_, ActionKind.GOOD)).text
        await core.adapter.press(id_, ActionKind.BAD)
        await core.act(ActionKind.GOOD, message_id=id_, author=OTHER)
        assert await feedback(store, core) == [("답 1", "bad")]


async def test_feedback_goes_with_its_answer(store):
    async with running(store) as core:
        id_ = await answered(core)
        await core.adapter.press(id_, ActionKind.GOOD)
        await core.act(ActionKind.REGENERATE)
        await core.settle(replied=2)
        assert await feedback(store, core) == []


async def test_a_report_keeps_what_is_known_of_the_answer(store):
    async with running(store) as core:
        id_ = await answered(core, "질문이에요")
        result = await core.act(
            ActionKind.REPORT, message_id=id_, author=OTHER, value="이상해요 " * 1000
        )
        assert result.text == "신고했어요. 알려 주셔서 고마워요. (접수 번호 1)"
    (report,) = await store.people.reports()
    assert (report["question"], report["answer"]) == ("질문이에요", "답 1")
    assert len(report["reason"]) == 2000
    assert report["outcome"]["model"] == "scripted"
    assert report["channel"] == str(ROOM)
    assert report["person"] == core.pseudonyms.person("fake", OTHER.id)
    assert report["asker"] == core.pseudonyms.person("fake", PERSON.id)


class Reviews:
    def __init__(self):
        self.seen = []

    async def review(self, subject, *, right, channel, reviewer, at):
        self.seen.append((subject, right, channel))
        return subject == "7"


async def test_findings_are_judged_by_managers(store):
    reviews = Reviews()
    async with running(store, hits=reviews) as core:
        refused = await core.act(ActionKind.HIT_RIGHT, direct=False, subject="7")
        assert not refused.done
        assert reviews.seen == []
        for kind, right in ((ActionKind.HIT_RIGHT, True), (ActionKind.HIT_WRONG, False)):
            assert (await core.act(kind, direct=False, manager=True, subject="7")).done
            assert reviews.seen[-1] == ("7", right, ChannelKey("fake", "room"))
        assert not (await core.act(ActionKind.HIT_WRONG, manager=True, subject="8")).done


async def test_status_says_model_queue_and_speed(store):
    async with running(store) as core:
        before = (await core.act(ActionKind.STATUS)).text
        assert "아직 답한 적이 없어요" in before
        await answered(core)
        core.model.hold = asyncio.Event()
        await core.adapter.say("하나")
        await core.adapter.say("둘", author=OTHER)
        async with asyncio.timeout(5):
            while await core.parts.answers.open_turn(ROOM) is None:
                await asyncio.sleep(0.005)
        text = (await core.act(ActionKind.STATUS)).text
        assert "모델: scripted" in text
        assert "지금 답을 쓰고 있고, 1개가 차례를 기다려요" in text
        assert "최근 답은 평균 " in text
        text = (await core.act(ActionKind.STATUS, author=OTHER)).text
        assert "기다리는 1개 가운데 1번째가 내 차례예요" in text
        core.model.hold.set()
        await core.settle(replied=3)


async def test_help_names_managers_commands_to_managers(store):
    async with running(store) as core:
        assert "설정바꾸기" in (await core.act(ActionKind.HELP)).text
        text = (await core.act(ActionKind.HELP, direct=False)).text
        assert text.startswith("안녕하세요, 저는 코코예요! “코코”야 하고 부르거나 멘션해 주세요.")
        assert "설정바꾸기" not in text
