"""What people do on Discord, as the core hears it."""

import asyncio
import time

import pytest

from kogpt_bot.errors import StoreError
from kogpt_bot.messages import ChannelKey
from kogpt_bot_discord.settings import Places
from tests.fakes.discord.world import FORUM, now

IMAGE = {
    "id": "1", "filename": "a.png", "size": 1, "url": "http://x/a.png", "proxy_url": "",
    "content_type": "image/png",
}  # fmt: skip


async def heard(bot, discord, content="", **extra):
    """Return the one message that is heard."""
    async with bot.running():
        await discord.say(content, **extra)
        (message,) = await bot.inbox.wait_for(1)
        return message


async def test_a_message_in_a_server(bot, discord):
    discord.world.member(discord.guild, discord.person, nick="민수 반장")
    message = await heard(bot, discord, "안녕")
    assert message.key == bot.key
    assert message.author.name == "민수 반장"
    assert message.author.id == discord.person["id"]
    assert not (message.direct)
    assert not (message.mentions_bot)
    assert not (message.replies_to_bot)
    assert message.sent_at.tzinfo is not None


async def test_a_direct_message(bot, discord):
    private = discord.world.dm(discord.person)
    message = await heard(bot, discord, "안녕", channel=private)
    assert message.key == ChannelKey("discord", private["id"])
    assert message.direct
    assert message.author.name == "민수"


async def test_a_mention_of_the_bot_is_written_as_its_name(bot, discord):
    me = discord.world.bot
    message = await heard(bot, discord, f"<@{me['id']}> 안녕", mentions=[me])
    assert message.mentions_bot
    assert message.text == "@코코 안녕"


async def test_the_role_of_the_bot_is_the_bot(bot, discord):
    role = discord.guild["roles"][1]["id"]
    message = await heard(bot, discord, f"<@&{role}> 안녕", mention_roles=[role])
    assert message.mentions_bot
    assert message.text == "@코코 안녕"


async def test_everybody_is_not_the_bot(bot, discord):
    message = await heard(bot, discord, "@everyone 안녕", mention_everyone=True)
    assert not message.mentions_bot


async def test_mentions_channels_emoji_and_times_are_words(bot, discord):
    friend = discord.world.user("영희")
    text = (
        f"<@{friend['id']}> <#{discord.channel['id']}> <:웃음x:123456789012345678> "
        "<a:춤:123456789012345678> </kogpt chat:123456789012345678> <t:0:R> <@111111111111111111>"
    )
    message = await heard(bot, discord, text, mentions=[friend])
    assert message.text == (
        "@영희 #잡담 :웃음x: :춤: /kogpt chat 1970-01-01 00:00 UTC <@111111111111111111>"
    )


async def test_a_reply_to_the_bot(bot, discord):
    async with bot.running():
        answer = discord.world.message(discord.channel, discord.world.bot, "내가 말했지")
        await discord.reply(answer, "응")
        (message,) = await bot.inbox.wait_for(1)
    assert message.replies_to_bot
    assert message.reply_to == answer["id"]


async def test_a_reply_to_somebody_else_or_to_what_is_gone(bot, discord):
    async with bot.running():
        other = await discord.say("나는 사람")
        await discord.reply(other, "응")
        gone = {"message_id": "1" * 18, "channel_id": discord.channel["id"]}
        await discord.say("없네", type=19, message_reference=gone, referenced_message=None)
        messages = await bot.inbox.wait_for(3)
    assert [message.replies_to_bot for message in messages] == [False] * 3
    assert messages[1].reply_to == other["id"]


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"attachments": [IMAGE]}, "[사진]"),
        ({"attachments": [{**IMAGE, "description": "고양이"}]}, "[사진: 고양이]"),
        ({"attachments": [{**IMAGE, "content_type": "video/mp4"}]}, "[동영상]"),
        ({"attachments": [{**IMAGE, "content_type": "audio/ogg"}]}, "[소리]"),
        (
            {"attachments": [{
                **IMAGE, "content_type": "audio/ogg", "waveform": "AA==", "duration_secs": 1.0,
            }], "flags": 1 << 13},
            "[음성 메시지]",
        ),
        ({"attachments": [{**IMAGE, "content_type": None}]}, "[파일: a.png]"),
        ({"attachments": [IMAGE, IMAGE]}, "[사진]\n[사진]"),
        ({"sticker_items": [{"id": "5", "name": "엄지", "format_type": 1}]}, "[스티커: 엄지]"),
        (
            {"poll": {
                "question": {"text": "점심?"}, "expiry": now(), "allow_multiselect": False,
                "layout_type": 1,
                "answers": [
                    {"answer_id": 1, "poll_media": {"text": "국수"}},
                    {"answer_id": 2, "poll_media": {"text": "밥"}},
                ],
            }},
            "[투표: 점심? (국수 / 밥)]",
        ),
        ({"embeds": [{"type": "rich", "title": "제목", "description": "내용"}]}, "[카드: 제목 내용]"),
        (
            {"message_snapshots": [{"message": {
                "type": 0, "content": "전해 줘", "embeds": [], "attachments": [IMAGE],
                "timestamp": now(), "edited_timestamp": None, "flags": 0,
            }}]},
            "[전달: 전해 줘 [사진]]",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_text_is_described(bot, discord, extra, text):
    assert (await heard(bot, discord, **extra)).text == text


async def test_a_picture_with_words(bot, discord):
    message = await heard(bot, discord, "이것 봐", attachments=[IMAGE])
    assert message.text == "이것 봐\n[사진]"


async def test_what_nobody_said_and_what_is_empty_is_not_heard(bot, discord):
    async with bot.running():
        await discord.say("", type=7)  # somebody joined
        await discord.say("주제", type=21)  # a thread's first message, shown again
        await discord.say("")  # without the message content intent
        await discord.say("내 말", author=discord.world.bot)
        await discord.say("끝")
        (message,) = await bot.inbox.wait_for(1)
    assert message.text == "끝"


async def test_other_bots_and_webhooks_are_bots(bot, discord):
    robot = discord.world.user("로봇", bot=True)
    async with bot.running():
        await discord.say("삐", author=robot)
        await discord.say("웹훅", webhook_id=discord.world.id())
        messages = await bot.inbox.wait_for(2)
    assert all(message.author.is_bot for message in messages)


async def test_a_thread_is_a_conversation_of_its_own(bot, discord):
    thread = discord.world.thread(discord.channel, "이야기", discord.person)
    message = await heard(bot, discord, "안녕", channel=thread)
    assert message.key == ChannelKey(
        "discord", discord.channel["id"], discord.guild["id"], thread["id"]
    )
    assert not message.replies_to_bot


async def test_in_a_thread_of_the_bots_everything_is_said_to_it(bot, discord):
    thread = discord.world.thread(discord.channel, "둘만", discord.world.bot)
    assert (await heard(bot, discord, "안녕", channel=thread)).replies_to_bot


async def test_a_thread_that_is_not_known_is_asked_for_once(bot, discord):
    thread = discord.world.thread(discord.channel, "잠든", discord.person, listed=False)
    async with bot.running():
        for _ in range(3):
            await discord.say("안녕", channel=thread)
        messages = await bot.inbox.wait_for(3)
    assert messages[0].key.thread == thread["id"]
    assert len(discord.calls("GET", f"channels/{thread['id']}")) == 1


async def test_a_forum_post_has_its_title(bot, discord):
    forum = discord.world.channel(discord.guild, "질문", FORUM)
    async with bot.running():
        id_ = discord.world.id()
        post = discord.world.thread(forum, "도와주세요", discord.person, id_=id_)
        await discord.gateway.tell("THREAD_CREATE", post, guild_id=discord.guild["id"])
        await discord.say("안 돼요", channel=post, id=id_)
        await discord.say("자세히", channel=post)
        first, second = await bot.inbox.wait_for(2)
    assert first.text == "[글 제목: 도와주세요]\n안 돼요"
    assert second.text == "자세히"
    assert first.key == ChannelKey("discord", forum["id"], discord.guild["id"], post["id"])


async def test_an_edit_is_passed_on_and_a_preview_is_none(bot, discord):
    async with bot.running():
        message = await discord.say("점심")
        await discord.tell("MESSAGE_UPDATE", {**message, "embeds": [{"type": "link"}]})
        await discord.edit(message, "저녁")
        await bot.until(lambda: bot.inbox.amended)
    (amended,) = bot.inbox.amended
    assert (amended.message_id, amended.text) == (message["id"], "저녁")


async def test_an_edit_that_leaves_nothing_is_a_deletion(bot, discord):
    async with bot.running():
        message = await discord.say("점심")
        await discord.edit(message, "")
        await bot.until(lambda: bot.inbox.withdrawn)
    assert bot.inbox.withdrawn == [(bot.key, message["id"])]


async def test_deletions_of_anybodys_messages_are_passed_on(bot, discord):
    async with bot.running():
        message = await discord.say("점심")
        own = discord.world.message(discord.channel, discord.world.bot, "저녁")
        await discord.remove(message)
        await discord.remove(own)
        bulk = {
            "ids": ["3", "2"],
            "channel_id": discord.channel["id"],
            "guild_id": discord.guild["id"],
        }
        await discord.gateway.tell("MESSAGE_DELETE_BULK", bulk, guild_id=discord.guild["id"])
        await bot.until(lambda: len(bot.inbox.withdrawn) == 4)
    assert [id_ for _, id_ in bot.inbox.withdrawn] == [message["id"], own["id"], "2", "3"]


async def test_a_store_that_fails_is_tried_again(bot, discord):
    bot.inbox.failures = [StoreError("full"), StoreError("full")]
    async with bot.running():
        await discord.say("하나")
        await discord.say("둘")
        messages = await bot.inbox.wait_for(2)
    assert [message.text for message in messages] == ["하나", "둘"]


LISTS = [
    ({"block": "servers"}, False), ({"block": "channels"}, False), ({"block": "users"}, False),
    ({"block": "roles"}, False), ({"allow": "servers"}, True), ({"allow": "channels"}, True),
    ({"allow": "users"}, True), ({"allow": "roles"}, True), ({"other": "servers"}, False),
    ({"other": "channels"}, False), ({"other": "users"}, False), ({"other": "roles"}, False),
    ({"allow": "users", "block": "channels"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("lists", "listens"), LISTS)
async def test_the_lists(make_bot, discord, lists, listens):
    role = discord.world.role("반장")
    discord.guild["roles"].append(role)
    discord.world.member(discord.guild, discord.person, roles=[role["id"]])
    ids = {
        "servers": discord.guild["id"], "channels": discord.channel["id"],
        "users": discord.person["id"], "roles": role["id"],
    }  # fmt: skip
    settings = {}
    for key, sort in lists.items():
        if key == "other":
            settings["allow"] = Places(**{sort: ("1" * 18,)})
        else:
            settings[key] = Places(**{sort: (ids[sort],)})
    bot = make_bot(**settings)
    async with bot.running():
        message = await discord.say("안녕")
        await discord.remove(message)  # deletions are passed on whoever wrote it
        await bot.until(lambda: bot.inbox.withdrawn)
        assert len(bot.inbox.messages) == listens


async def test_direct_messages_can_be_turned_off(make_bot, discord):
    bot = make_bot(direct_messages=False)
    async with bot.running():
        await discord.say("안녕", channel=discord.world.dm(discord.person))
        await discord.say("안녕")
        (message,) = await bot.inbox.wait_for(1)
        assert message.key.guild


async def test_what_was_missed_is_fetched_after_a_restart_in_order(bot, discord):
    private = discord.world.dm(discord.person)
    async with bot.running():
        await discord.say("하나")
        await discord.say("둘이서", channel=private)
        await bot.inbox.wait_for(2)
    bot.inbox.heard = {message.key: message.message_id for message in bot.inbox.messages}
    for number in range(3):
        discord.world.message(discord.channel, discord.person, f"놓침 {number}")
    discord.world.message(discord.channel, discord.world.bot, "내 말")
    discord.world.message(private, discord.person, "여기도")
    again = type(bot)(discord)
    again.inbox = bot.inbox
    async with again.running():
        await discord.say("지금")
        messages = await bot.inbox.wait_for(7)
    in_channel = [m.text for m in messages if m.key == bot.key]
    assert in_channel == ["하나", "놓침 0", "놓침 1", "놓침 2", "지금"]
    assert messages[-1].key == bot.key or messages[-1].direct
    assert len(messages) == 7


@pytest.mark.parametrize("list_", ["allow", "block"])
async def test_roles_decide_about_what_was_missed_too(make_bot, discord, list_):
    role = discord.world.role("반장")
    discord.guild["roles"].append(role)
    chief, gone = discord.world.user("반장"), discord.world.user("떠난 사람")
    discord.world.member(discord.guild, chief, roles=[role["id"]])
    bot = make_bot(**{list_: Places(roles=(role["id"],))})
    bot.inbox.heard = {bot.key: "1"}
    for author in (chief, discord.person, gone):
        discord.world.message(discord.channel, author, author["global_name"])
    async with bot.running():
        await bot.until(lambda: bot.inbox.messages)
        await discord.remove(discord.world.message(discord.channel, gone, "끝"))
        await bot.until(lambda: bot.inbox.withdrawn)
    expected = ["반장"] if list_ == "allow" else ["민수"]
    assert [message.text for message in bot.inbox.messages] == expected


async def test_at_most_a_hundred_of_the_last_ten_minutes_are_fetched(bot, discord):
    bot.inbox.heard = {bot.key: discord.world.id(at=time.time() - 3600)}
    old = discord.world.id(at=time.time() - 1800)
    discord.world.message(discord.channel, discord.person, "한참 전", id=old)
    for number in range(120):
        discord.world.message(discord.channel, discord.person, str(number))
    async with bot.running():
        messages = await bot.inbox.wait_for(100)
        await discord.say("지금")
        await bot.until(lambda: messages[-1].text == "지금")
    assert [message.text for message in messages[:3]] == ["0", "1", "2"]
    assert "한참 전" not in [message.text for message in messages]
    assert len(messages) == 101


async def test_fetching_waits_out_a_limit_and_survives_a_refusal(bot, discord):
    gone = ChannelKey("discord", "1" * 18, discord.guild["id"])
    bot.inbox.heard = {bot.key: "1", gone: "1"}
    discord.world.message(discord.channel, discord.person, "놓침")
    discord.limit_once("GET", f"{discord.channel['id']}/messages", 0.05)
    discord.fail_once("GET", f"{discord.channel['id']}/messages", 502)
    async with bot.running():
        (message,) = await bot.inbox.wait_for(1)
    assert message.text == "놓침"


async def test_more_than_can_wait_is_fetched_later(bot, discord, monkeypatch):
    monkeypatch.setattr("kogpt_bot_discord.intake.MAX_PER_CHANNEL", 5)
    hold, accept = asyncio.Event(), bot.inbox.accept

    async def slowly(message):
        await hold.wait()
        return await accept(message)

    bot.inbox.accept = slowly
    async with bot.running():
        for number in range(30):
            await discord.say(str(number))
        end = await discord.say("끝", channel=discord.world.channel(discord.guild, "다른 곳"))
        assert end
        await asyncio.sleep(0.1)  # until all were told
        hold.set()
        await bot.until(lambda: any(m.text == "29" for m in bot.inbox.messages))
    texts = [m.text for m in bot.inbox.messages if m.key == bot.key]
    assert texts == [str(number) for number in range(30)]
