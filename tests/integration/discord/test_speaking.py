"""What the bot says, as Discord gets it: safe, once, and never before its time."""

import asyncio

import pytest

from kogpt_bot.errors import (
    BadCredentials,
    Forbidden,
    Gone,
    Malformed,
    NotSent,
    RetryAfter,
    Unreachable,
)
from kogpt_bot.messages import ActionKind, ChannelKey, Outgoing
from kogpt_bot_discord.adapter import CAPABILITIES, ON_LOAN


def sent(discord):
    (call,) = discord.calls("POST", "/messages")
    return call.body


async def test_a_message_pings_nobody_shows_no_preview_and_is_keyed(bot, discord):
    async with bot.running():
        question = await discord.say("뭐 해?")
        await bot.adapter.send(bot.key, Outgoing("@everyone 놀아요", question["id"], nonce="t12.0"))
    body = sent(discord)
    assert body["allowed_mentions"] == {
        "parse": [], "users": [], "roles": [], "replied_user": False
    }  # fmt: skip
    assert body["message_reference"] == {
        "message_id": question["id"], "fail_if_not_exists": False
    }  # fmt: skip
    assert body["nonce"] == "t12.0"
    assert body["enforce_nonce"] is True
    assert body["flags"] & 4
    assert discord.texts() == ["@everyone 놀아요"]


async def test_an_edit_pings_nobody_either(bot, discord):
    async with bot.running():
        id_ = await bot.adapter.send(bot.key, Outgoing("가", final=False))
        await bot.adapter.edit(bot.key, id_, Outgoing("<@&1> @here"))
    (call,) = discord.calls("PATCH", "/messages/")
    assert call.body["allowed_mentions"]["parse"] == []
    assert call.body["flags"] & 4


async def test_a_long_nonce_is_shortened_the_same_way_each_time(bot, discord):
    async with bot.running():
        first = await bot.adapter.send(bot.key, Outgoing("한 번", nonce="n" * 80))
        assert await bot.adapter.send(bot.key, Outgoing("한 번", nonce="n" * 80)) == first
        assert await bot.adapter.send(bot.key, Outgoing("한 번", nonce="n" * 81)) != first
    assert all(len(call.body["nonce"]) <= 25 for call in discord.calls("POST", "/messages"))


async def test_offers_are_buttons_that_survive_a_restart(bot, discord):
    offers = (ActionKind.REGENERATE, ActionKind.DELETE, ActionKind.GOOD, ActionKind.BAD)
    async with bot.running():
        id_ = await bot.adapter.send(
            bot.key, Outgoing("가", final=False, offers=(ActionKind.STOP,))
        )
        await bot.adapter.edit(bot.key, id_, Outgoing("가나", offers=offers))
        (row,) = discord.shown()[0]["components"]
        assert [each["custom_id"] for each in row["components"]] == [
            f"kogpt:do:{kind.value}:" for kind in offers
        ]
        assert row["components"][0]["label"] == "다시 쓰기"
        assert row["components"][2]["emoji"]["name"] == "👍"
        await bot.adapter.edit(bot.key, id_, Outgoing("가나다"))
        assert discord.shown()[0]["components"] == []


async def test_six_buttons_are_two_rows_and_a_subject_goes_with_them(bot, discord):
    offers = tuple(ActionKind)[:6]
    async with bot.running():
        await bot.adapter.send(bot.key, Outgoing("가", offers=offers, subject="hit-7"))
    rows = sent(discord)["components"]
    assert [len(row["components"]) for row in rows] == [5, 1]
    assert rows[0]["components"][0]["custom_id"] == f"kogpt:do:{offers[0].value}:hit-7"


async def test_a_thread_and_a_direct_chat_are_spoken_in(bot, discord):
    thread = discord.world.thread(discord.channel, "이야기", discord.person)
    private = discord.world.dm(discord.person)
    async with bot.running():
        key = ChannelKey("discord", discord.channel["id"], discord.guild["id"], thread["id"])
        await bot.adapter.send(key, Outgoing("스레드에서"))
        await bot.adapter.send(ChannelKey("discord", private["id"]), Outgoing("둘이서"))
    assert discord.texts(thread) == ["스레드에서"]
    assert discord.texts(private) == ["둘이서"]
    assert discord.texts() == []


@pytest.mark.parametrize("call", ["send", "edit", "delete", "typing"])
async def test_a_limit_is_said_at_once_and_kept_without_asking_again(bot, discord, call):
    method = {"send": "POST", "edit": "PATCH", "delete": "DELETE", "typing": "POST"}[call]
    async with bot.running():
        id_ = await bot.adapter.send(bot.key, Outgoing("가"))
        calls = {
            "send": lambda: bot.adapter.send(bot.key, Outgoing("나")),
            "edit": lambda: bot.adapter.edit(bot.key, id_, Outgoing("나")),
            "delete": lambda: bot.adapter.delete(bot.key, id_),
            "typing": lambda: bot.adapter.typing(bot.key),
        }
        discord.limit_once(method, f"channels/{discord.channel['id']}", 30.0)
        before = len(discord.rest.calls)
        with pytest.raises(RetryAfter) as first:
            await asyncio.wait_for(calls[call](), 5)
        assert first.value.seconds == 30.0
        with pytest.raises(RetryAfter) as second:
            await asyncio.wait_for(calls[call](), 5)
        assert 0 < second.value.seconds <= 30.0
        assert len(discord.rest.calls) == before + 1


async def test_a_limit_of_one_channel_does_not_hold_another(bot, discord):
    other = discord.world.channel(discord.guild, "다른 곳")
    async with bot.running():
        discord.limit_once("POST", f"channels/{discord.channel['id']}/messages", 30.0)
        with pytest.raises(RetryAfter):
            await bot.adapter.send(bot.key, Outgoing("가"))
        await bot.adapter.send(
            ChannelKey("discord", other["id"], discord.guild["id"]), Outgoing("나")
        )


async def test_a_global_limit_holds_every_call(bot, discord):
    other = discord.world.channel(discord.guild, "다른 곳")
    key = ChannelKey("discord", other["id"], discord.guild["id"])
    async with bot.running():
        discord.limit_once("POST", "/messages", 30.0, everywhere=True)
        with pytest.raises(RetryAfter):
            await bot.adapter.send(bot.key, Outgoing("가"))
        with pytest.raises(RetryAfter):
            await bot.adapter.send(key, Outgoing("나"))
        with pytest.raises(RetryAfter):
            await bot.adapter.typing(bot.key)


async def test_an_empty_bucket_is_left_alone_until_it_is_full(bot, discord):
    from tests.fakes.discord.rest import Limit

    discord.rest.limits["POST"] = Limit(2, 0.5)
    async with bot.running():
        await bot.adapter.send(bot.key, Outgoing("하나"))
        await bot.adapter.send(bot.key, Outgoing("둘"))
        with pytest.raises(RetryAfter) as error:
            await bot.adapter.send(bot.key, Outgoing("셋"))
        await asyncio.sleep(error.value.seconds + 0.01)
        await bot.adapter.send(bot.key, Outgoing("셋"))
    assert all(call.status == 200 for call in discord.calls("POST", "/messages"))


async def test_a_refusal_of_a_proxy_without_a_time_waits_a_minute(bot, discord):
    from aiohttp import web

    discord.fault("POST", "/messages", lambda: web.Response(status=429, text="error 1015"))
    async with bot.running():
        with pytest.raises(RetryAfter) as error:
            await bot.adapter.send(bot.key, Outgoing("가"))
        assert error.value.seconds == 60


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Malformed), (401, BadCredentials), (403, Forbidden), (404, Gone), (408, Unreachable),
        (500, Unreachable), (502, Unreachable), (503, Unreachable), (504, Unreachable),
    ],
)  # fmt: skip
async def test_what_discord_answers_becomes_one_of_ours_after_one_try(bot, discord, status, error):
    async with bot.running():
        discord.fail_once("POST", "/messages", status)
        with pytest.raises(error) as raised:
            await bot.adapter.send(bot.key, Outgoing("가"))
        assert type(raised.value) is error
        assert len(discord.calls("POST", "/messages")) == 1


async def test_a_connection_that_breaks_in_the_middle(bot, discord):
    from aiohttp import web

    class Broken(web.Response):
        async def prepare(self, request):
            request.transport.abort()
            raise ConnectionResetError

    async with bot.running():
        discord.fault("POST", "/messages", Broken)
        with pytest.raises(Unreachable):
            await bot.adapter.send(bot.key, Outgoing("가", nonce="t1.0"))
        await bot.adapter.send(bot.key, Outgoing("가", nonce="t1.0"))
    assert discord.texts() == ["가"]


async def test_where_the_bot_may_not_write(bot, discord):
    discord.rest.forbidden.add(discord.channel["id"])
    async with bot.running():
        for call in (
            bot.adapter.send(bot.key, Outgoing("가")),
            bot.adapter.typing(bot.key),
        ):
            with pytest.raises(Forbidden):
                await call


async def test_what_is_not_the_bots_own_is_not_edited(bot, discord):
    async with bot.running():
        message = await discord.say("내 말")
        with pytest.raises(Forbidden):
            await bot.adapter.edit(bot.key, message["id"], Outgoing("네 말"))


async def test_before_it_is_connected_nothing_is_sent(bot):
    with pytest.raises(NotSent):
        await bot.adapter.send(bot.key, Outgoing("가"))
    assert not bot.adapter.connection().up


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
async def test_nothing_that_cannot_be_seen_is_sent(bot, discord, text):
    async with bot.running():
        with pytest.raises(Malformed):
            await bot.adapter.send(bot.key, Outgoing(text))
    assert not discord.calls("POST", "/messages")


async def test_a_message_full_of_marks_still_fits(bot, discord):
    text = "*_~`|<>@[]" * 200
    async with bot.running():
        await bot.adapter.send(bot.key, Outgoing(text))
    (shown,) = discord.texts()
    assert len(shown) == len(text)


def test_what_a_borrowed_channel_can_do():
    assert CAPABILITIES.idempotent_send
    assert not ON_LOAN.idempotent_send
    assert ON_LOAN.max_length == CAPABILITIES.max_length
