"""What the adapter sends, where, at what pace, and what it makes of Telegram's refusals."""

import asyncio
import itertools
import logging
from contextlib import suppress

import pytest

from kogpt_bot.errors import (
    BadCredentials,
    ConfigurationError,
    Forbidden,
    Gone,
    Malformed,
    NoneToSpare,
    NotSent,
    Refused,
    RetryAfter,
    Unreachable,
)
from kogpt_bot.messages import ChannelKey, Outgoing
from kogpt_bot_telegram.pace import Pace, Weight
from tests.fakes.telegram import PERSON, TOKEN
from tests.unit.telegram.conftest import running

HERE = ChannelKey("telegram", str(PERSON["id"]))


def key(chat, thread=""):
    return ChannelKey("telegram", str(chat), thread=thread)


async def test_what_can_be_done_depends_on_the_chat(fake, make):
    adapter = make()
    private, group = adapter.capabilities_in(HERE), adapter.capabilities_in(key(-1001))
    assert private.native_drafts
    assert not group.native_drafts
    assert (private.min_edit_interval_s, group.min_edit_interval_s) == (1.0, 3.0)
    assert not adapter.capabilities.idempotent_send
    assert not make(drafts=False).capabilities_in(HERE).native_drafts


async def test_no_markup_no_preview_no_ping(fake, bot):
    await bot.send(HERE, Outgoing("*굵게* @everyone https://example.com"))
    (call,) = fake.made("sendMessage")
    assert "parse_mode" not in call.params
    assert call.params["link_preview_options"]["is_disabled"] is True
    assert fake.texts() == ["*굵게* @everyone https://example.com"]
    assert fake.pings == []


async def test_an_answer_in_a_group_names_its_question(fake, bot):
    group = fake.group()
    question = fake.say("안녕", chat=group)
    await bot.send(key(group), Outgoing("네", reply_to=str(question["message_id"])))
    await bot.send(key(group), Outgoing("네", reply_to="999"))  # it was deleted meanwhile
    await bot.send(HERE, Outgoing("네", reply_to="1"))
    first, second = fake.shown(group)
    assert first["reply_to_message"]["message_id"] == question["message_id"]
    assert "reply_to_message" not in second
    assert "reply_to_message" not in fake.shown()[0]


async def test_topics_are_answered_in_topics(fake, bot):
    group = fake.group(is_forum=True)
    await bot.send(key(group, "7"), Outgoing("여기"))
    await bot.typing(key(group, "7"))
    await bot.send(key(PERSON["id"], "3"), Outgoing("여기도"))
    await bot.draft(key(PERSON["id"], "3"), 5, Outgoing("쓰는"))
    assert fake.shown(group)[0]["message_thread_id"] == 7
    assert fake.typed == [(group, 7)]
    assert fake.shown()[0]["message_thread_id"] == 3
    assert fake.drafts[0].thread == 3
    fake.closed_topics.add((group, 7))
    with pytest.raises(Forbidden):
        await bot.send(key(group, "7"), Outgoing("닫혔네"))


async def test_drafts_have_the_id_and_leave_no_message(fake, bot):
    for text in ("쓰", "쓰는", "쓰는 중 @everyone"):
        await bot.draft(HERE, 42, Outgoing(text, final=False))
    assert [d.draft_id for d in fake.drafts] == [42] * 3
    assert "@everyone" not in fake.drafts[2].text
    assert fake.shown() == []


async def test_a_draft_that_changes_nothing_is_done(fake, bot):
    fake.fail("sendMessageDraft", 400, "Bad Request: message is not modified")
    await bot.draft(HERE, 42, Outgoing("쓰는"))
    assert bot.capabilities_in(HERE).native_drafts


async def test_a_server_without_drafts_is_found_out_once(fake, bot):
    fake.known = False
    with pytest.raises(Malformed):
        await bot.draft(HERE, 42, Outgoing("쓰는"))
    assert not bot.capabilities_in(HERE).native_drafts
    assert not bot.capabilities_in(key(5)).native_drafts


async def test_a_chat_that_takes_no_drafts_is_found_out_once(fake, bot):
    fake.fail("sendMessageDraft", 400, "Bad Request: TEXTDRAFT_PEER_INVALID")
    with pytest.raises(Malformed):
        await bot.draft(HERE, 42, Outgoing("쓰는"))
    assert not bot.capabilities_in(HERE).native_drafts
    assert bot.capabilities_in(key(5)).native_drafts


async def test_an_edit_that_changes_nothing_is_done(fake, bot):
    id_ = await bot.send(HERE, Outgoing("같은 글"))
    await bot.edit(HERE, id_, Outgoing("같은 글"))
    assert fake.edits == []


@pytest.mark.parametrize(
    ("code", "description", "kind"),
    [
        (403, "Forbidden: bot was blocked by the user", Forbidden),
        (403, "Forbidden: bot was kicked from the supergroup chat", Forbidden),
        (400, "Bad Request: chat not found", Gone),
        (400, "Bad Request: message text is empty", Malformed),
        (400, "Bad Request: can't parse entities: Unsupported start tag", Malformed),
        (401, "Unauthorized", BadCredentials),
        (500, "Internal Server Error", Unreachable),
        (502, "Bad Gateway", Unreachable),
    ],
)
async def test_refusals_are_translated(fake, bot, code, description, kind):
    fake.fail("sendMessage", code, description)
    with pytest.raises(kind):
        await bot.send(HERE, Outgoing("글"))


async def test_a_flood_wait_holds_its_chat_and_no_other(fake, bot):
    group = fake.group()
    fake.flood("sendMessage", 30, chat=PERSON["id"])
    with pytest.raises(RetryAfter) as caught:
        await bot.send(HERE, Outgoing("글"))
    assert caught.value.seconds == 30
    calls = len(fake.calls)
    for call in (
        bot.send(HERE, Outgoing("글")),
        bot.edit(HERE, "1", Outgoing("글")),
        bot.draft(HERE, 1, Outgoing("글")),
        bot.typing(HERE),
    ):
        with pytest.raises(RetryAfter) as caught:
            await call
        assert 0 < caught.value.seconds <= 30
    sends = ("sendMessage", "editMessageText", "sendMessageDraft", "sendChatAction")
    assert [c for c in fake.calls[calls:] if c.method in sends] == []
    await bot.send(key(group), Outgoing("글"))


async def test_a_group_that_moved_is_followed(fake, bot, inbox):
    old, new = fake.group(-55, type="group"), -1005
    question = fake.say("안녕", chat=old)
    await inbox.wait_for(1)
    id_ = await bot.send(key(old), Outgoing("네"))
    fake.migrate(old, new)
    await fake.until(lambda: not fake.updates)
    await bot.send(key(old), Outgoing("다시", reply_to=str(question["message_id"])))
    assert fake.texts(new) == ["다시"]
    assert "reply_to_message" not in fake.shown(new)[0]
    with pytest.raises(Gone):  # the id means another message there
        await bot.edit(key(old), id_, Outgoing("고침"))
    await bot.delete(key(old), id_)
    assert len(inbox.messages) == 1  # what says so is no message of anybody's


async def test_a_group_that_moved_unnoticed_is_followed_too(fake, bot):
    old, new = fake.group(-55, type="group"), fake.group(-1005)
    fake.migrated[old] = new
    await bot.send(key(old), Outgoing("네"))
    await bot.send(key(old), Outgoing("또"))
    assert fake.texts(new) == ["네", "또"]
    assert len(fake.made("sendMessage")) == 3


async def test_no_connection_is_told_from_no_answer(fake, make, inbox):
    adapter = make()
    fake.fail("sendMessage", 200, "", raw=b"half an answ")
    with pytest.raises(Unreachable) as caught:
        await adapter.send(HERE, Outgoing("글"))
    assert not isinstance(caught.value, NotSent)
    await fake.__aexit__()
    try:
        with pytest.raises(NotSent):
            await adapter.send(HERE, Outgoing("글"))
    finally:
        await fake.__aenter__()


async def test_it_sends_also_when_it_does_not_run(fake, make):
    adapter = make()
    id_ = await adapter.send(HERE, Outgoing("아직"))
    await adapter.edit(HERE, id_, Outgoing("이제"))
    assert fake.texts() == ["이제"]


@pytest.mark.parametrize("bad", [ChannelKey("telegram", "room"), key(PERSON["id"], "x")])
async def test_a_key_of_another_platform_is_gone(make, bad):
    with pytest.raises(Gone):
        await make().send(bad, Outgoing("글"))


async def test_a_refusal_waits_out_a_flood_and_holds_nothing_up(fake, bot, inbox):
    fake.flood("sendMessage", 1, chat=PERSON["id"])
    inbox.failures = [Refused("너무 길어요.")]
    fake.say("길다")
    fake.say("다음")
    await inbox.wait_for(1)
    await fake.until(lambda: fake.texts() == ["너무 길어요."])
    assert not fake.early


async def test_the_token_reaches_no_log(fake, make, inbox, caplog, capsys, monkeypatch):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "telegram"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    adapter = make()
    async with running(adapter, inbox):
        fake.fail("sendMessage", 500, f"Internal error at /bot{TOKEN}/sendMessage")
        with pytest.raises(Unreachable) as caught:
            await adapter.send(HERE, Outgoing("글"))
        fake.fail("getUpdates", 502, f"Bad Gateway {TOKEN}")
        fake.say("안녕")
        await inbox.wait_for(1)
    monkeypatch.setenv("TELEGRAM_TEST_TOKEN", f"{TOKEN}x")
    with pytest.raises(BadCredentials) as refused:
        await make().run(inbox)
    import traceback

    said = caplog.text + capsys.readouterr().out
    for error in (caught.value, refused.value):
        said += "".join(traceback.format_exception(error))
    assert said
    assert TOKEN not in said


async def test_without_a_token_it_says_how_to_name_one(inbox):
    from kogpt_bot_telegram.adapter import TelegramAdapter
    from kogpt_bot_telegram.settings import TelegramSettings

    with pytest.raises(ConfigurationError, match="set token_env: TELEGRAM_BOT_TOKEN"):
        await TelegramAdapter(TelegramSettings()).run(inbox)


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def real_pace(monkeypatch):
    monkeypatch.setattr("kogpt_bot_telegram.pace.PER_SECOND", 1.0)
    time = Time()
    return Pace(time), time


def sent_in(pace, time, chat, seconds, *weights):
    """Send whenever that is allowed; returns the times."""
    times, end = [], time.now + seconds
    weights = itertools.cycle(weights)
    while time.now < end:
        weight = next(weights)
        try:
            pace.take(chat, weight)
            times.append(time.now)
        except RetryAfter as error:
            time.now += error.seconds + 1e-6
    return times


@pytest.mark.parametrize("weight", [Weight.MESSAGE, Weight.EDIT])
def test_a_chat_gets_a_message_and_an_edit_a_second(real_pace, weight):
    times = sent_in(*real_pace, 5, 60, weight)
    assert 55 <= len(times) <= 60
    assert all(b - a >= 1 for a, b in itertools.pairwise(times))


def test_a_group_gets_twenty_of_both_a_minute(real_pace):
    times = sent_in(*real_pace, -5, 600, Weight.MESSAGE, Weight.EDIT)
    assert len(times) >= 190
    assert all(b - a >= 60 for a, b in zip(times, times[20:], strict=False))


def test_edits_of_unfinished_answers_leave_a_group_room_for_what_matters(real_pace):
    pace, time = real_pace
    times = sent_in(pace, time, -5, 600, Weight.PASSING_EDIT)
    assert all(b - a >= 60 for a, b in zip(times, times[15:], strict=False))
    assert len(times) >= 140
    time.now += 60
    for _ in range(15):
        time.now += 1
        pace.take(-5, Weight.PASSING_EDIT)
    time.now += 1
    with pytest.raises(NoneToSpare):
        pace.take(-5, Weight.PASSING_EDIT)
    for _ in range(5):
        time.now += 1
        pace.take(-5, Weight.EDIT)
    with pytest.raises(RetryAfter) as caught:
        pace.take(-5, Weight.MESSAGE)
    assert not isinstance(caught.value, NoneToSpare)


def test_a_passing_edit_and_a_last_one_share_the_second(real_pace):
    pace, _ = real_pace
    pace.take(5, Weight.PASSING_EDIT)
    with pytest.raises(RetryAfter):
        pace.take(5, Weight.EDIT)


def test_all_chats_together_get_thirty_a_second(real_pace):
    pace, _ = real_pace
    taken = 0
    for chat in range(1, 200):
        with suppress(RetryAfter):
            pace.take(chat, Weight.MESSAGE)
            taken += 1
    assert taken == 30


def test_what_weighs_nothing_is_only_held(real_pace):
    pace, time = real_pace
    for _ in range(100):
        pace.take(5)
    pace.hold(5, 30)
    pace.hold(5, 1)  # never shortened
    time.now += 29
    for weight in Weight:
        with pytest.raises(RetryAfter):
            pace.take(5, weight)
    time.now += 1
    pace.take(5)


def test_chats_in_memory_are_bounded(monkeypatch, real_pace):
    monkeypatch.setattr("kogpt_bot_telegram.pace.MAX_CHATS", 10)
    pace, time = real_pace
    for chat in range(100):
        time.now += 1
        pace.take(chat, Weight.MESSAGE)
    assert len(pace._chats) == 10


async def test_too_long_a_text_is_refused_without_a_call(fake, bot):
    with pytest.raises(Malformed):
        await bot.send(HERE, Outgoing("😀" * 2049))
    assert not fake.made("sendMessage")


async def test_an_answer_that_is_not_understood_may_have_been_carried_out(fake, bot):
    fake.fail("sendMessage", 200, "", raw=b'{"ok": true, "result": {"message_id": 1}}')
    with pytest.raises(Unreachable) as caught:
        await bot.send(HERE, Outgoing("글"))
    assert not isinstance(caught.value, NotSent)


async def test_stop_comes_through_while_telegram_cannot_be_reached(fake, make, inbox):
    fake.hang.add("getMe")
    adapter = make()
    task = asyncio.create_task(adapter.run(inbox))
    await fake.until(lambda: fake.made("getMe"))
    await adapter.stop()
    await asyncio.wait_for(task, 20)
