"""The gateway: sessions are kept, resumed and begun anew; what is final ends the adapter."""

import asyncio

import pytest

from kogpt_bot.errors import BadCredentials, ConfigurationError, Unreachable
from kogpt_bot_discord.shards import Pacing

MESSAGE_CONTENT = 1 << 15


async def test_it_identifies_with_the_intents_it_needs(bot, discord):
    async with bot.running():
        (identify,) = discord.gateway.identifies
        assert identify["intents"] & MESSAGE_CONTENT
        assert identify["shard"] == [0, 1]
        assert discord.gateway.heartbeats >= 1


async def test_without_message_content_it_does_not_ask_for_it(make_bot, discord):
    async with make_bot(message_content=False).running():
        assert not discord.gateway.identifies[0]["intents"] & MESSAGE_CONTENT


async def test_as_many_shards_as_discord_says(bot, discord):
    discord.rest.shards = 3
    async with bot.running(shards=3):
        assert sorted(each["shard"] for each in discord.gateway.identifies) == [
            [0, 3], [1, 3], [2, 3],
        ]  # fmt: skip
        await discord.say("안녕")
        await bot.inbox.wait_for(1)
        await bot.until(lambda: bot.adapter.connection().up)


async def test_only_the_shards_of_this_process(make_bot, discord):
    async with make_bot(shard_count=4, shard_ids=(1, 3)).running(shards=2):
        assert sorted(e["shard"][0] for e in discord.gateway.identifies) == [1, 3]


@pytest.mark.parametrize("way", ["cut", "close", "goodbye", "op7", "op9"])
async def test_a_lost_connection_is_resumed_and_nothing_is_missed(bot, discord, way):
    async with bot.running():
        await discord.say("하나")
        await bot.inbox.wait_for(1)
        session = next(iter(discord.gateway.sessions.values()))
        if way == "cut":
            await discord.gateway.cut()
        elif way == "close":
            await discord.gateway.close(4000)
        elif way == "goodbye":
            await discord.gateway.close(1000)
        elif way == "op7":
            await discord.gateway.ask_to_reconnect()
        else:
            await discord.gateway.invalidate(resumable=True)
        await discord.gateway.wait_until(lambda: session.connection is None)
        await discord.say("둘")
        await discord.gateway.wait_until(lambda: discord.gateway.resumes)
        await discord.say("셋")
        messages = await bot.inbox.wait_for(3)
        assert [message.text for message in messages] == ["하나", "둘", "셋"]
        assert len(discord.gateway.identifies) == 1
        await bot.until(lambda: bot.adapter.connection().up)
        assert bot.adapter.connection().reconnects == 1
    assert not bot.adapter.connection().up
    assert bot.adapter.connection().reconnects == 1


async def test_an_invalid_session_begins_anew_and_fetches_what_was_missed(bot, discord):
    async with bot.running():
        await discord.say("하나")
        await bot.inbox.wait_for(1)
        await discord.gateway.invalidate(resumable=False)
        await discord.say("둘")
        await discord.gateway.wait_until(lambda: len(discord.gateway.identifies) == 2)
        await discord.say("셋")
        await bot.inbox.wait_for(3)
        texts = [message.text for message in bot.inbox.messages]
        assert texts[0] == "하나"
        assert list(dict.fromkeys(texts)) == ["하나", "둘", "셋"]


async def test_a_session_that_cannot_be_resumed_begins_anew(bot, discord):
    discord.gateway.refuse_resume = True
    async with bot.running():
        await discord.say("하나")
        await bot.inbox.wait_for(1)
        await discord.gateway.cut()
        await discord.gateway.wait_until(lambda: len(discord.gateway.identifies) == 2)
        await discord.say("둘")
        await bot.until(lambda: bot.inbox.messages[-1].text == "둘")


@pytest.mark.parametrize("code", [4007, 4009])
async def test_a_session_that_timed_out_is_not_resumed(bot, discord, code):
    async with bot.running():
        await discord.say("하나")
        await bot.inbox.wait_for(1)
        await discord.gateway.close(code)
        await discord.gateway.wait_until(lambda: len(discord.gateway.identifies) == 2)
        assert not discord.gateway.resumes


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (4004, BadCredentials, "Reset Token"),
        (4010, ConfigurationError, "shard_ids"),
        (4011, ConfigurationError, "shard_count"),
        (4012, ConfigurationError, "upgrade"),
        (4013, ConfigurationError, "intent"),
        (4014, ConfigurationError, "Message Content Intent"),
    ],
)
async def test_a_close_code_that_is_final_ends_it_with_a_remedy(bot, discord, code, error, words):
    discord.gateway.refuse_identify = [code]
    with pytest.raises(error, match=words):
        await asyncio.wait_for(bot.adapter.run(bot.inbox), 10)


async def test_a_close_code_while_it_runs_ends_it_too(bot, discord):
    task = asyncio.create_task(bot.adapter.run(bot.inbox))
    await discord.connected()
    await discord.gateway.close(4004)
    with pytest.raises(BadCredentials):
        await asyncio.wait_for(task, 10)


async def test_a_wrong_token_is_said_and_not_shown(bot, monkeypatch):
    monkeypatch.setenv("TEST_DISCORD_TOKEN", "wrong-token")
    with pytest.raises(BadCredentials, match="does not accept the token; make a new one") as error:
        await bot.adapter.run(bot.inbox)
    assert "wrong-token" not in repr(error.value.__cause__)


async def test_a_token_that_is_not_there(bot, monkeypatch):
    monkeypatch.delenv("TEST_DISCORD_TOKEN")
    with pytest.raises(ConfigurationError, match="TEST_DISCORD_TOKEN is not set"):
        await bot.adapter.run(bot.inbox)


async def test_discord_that_cannot_be_reached(bot, discord):
    await discord.stop()
    with pytest.raises(Unreachable):
        await bot.adapter.run(bot.inbox)


async def test_run_again_after_a_failure(bot, discord):
    discord.fail_once("GET", "users/@me", 503)
    with pytest.raises(Unreachable):
        await bot.adapter.run(bot.inbox)
    async with bot.running():
        await discord.say("안녕")
        await bot.inbox.wait_for(1)


async def test_a_gateway_that_closes_at_once_is_tried_ever_more_slowly(bot, discord):
    discord.gateway.refuse_identify = [4000] * 5
    async with bot.running():
        await discord.gateway.wait_until(lambda: discord.gateway.connections)
        assert len(discord.gateway.identifies) == 6


def test_the_pauses_grow_to_a_minute():
    pacing = Pacing()
    delays = [pacing.delay(failures, 0.999999) for failures in range(1, 20)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert 59 < delays[-1] <= 60
    assert pacing.delay(10**6, 0.0) == 30


async def test_an_event_that_cannot_be_read_does_not_end_the_connection(bot, discord):
    async with bot.running():
        await discord.gateway.tell("MESSAGE_CREATE", {"id": "nonsense"})
        await discord.say("안녕")
        (message,) = await bot.inbox.wait_for(1)
        assert message.text == "안녕"
        assert not discord.gateway.resumes


async def test_sessions_that_are_used_up_are_waited_for(bot, discord):
    discord.rest.session_starts = 0
    async with bot.running():
        assert discord.gateway.identifies


async def test_the_gateway_of_the_api_is_used_without_one_of_our_own(make_bot, discord):
    async with make_bot(gateway_url=None).running():
        await discord.gateway.cut()
        await discord.say("안녕")
        await discord.gateway.wait_until(lambda: discord.gateway.connections)


async def test_our_own_gateway_is_used_whatever_discord_names(bot, discord):
    discord.gateway.url = "wss://gateway-us-east1-b.discord.gg/"
    async with bot.running():
        await discord.say("하나")
        await bot.inbox.wait_for(1)
        await discord.gateway.cut()
        await discord.gateway.wait_until(lambda: discord.gateway.resumes)


async def test_stop_is_quick_and_answers_can_still_be_finished(bot, discord):
    from kogpt_bot.messages import Outgoing

    async with bot.running():
        id_ = await bot.adapter.send(bot.key, Outgoing("쓰는 중", final=False))
        await bot.adapter.stop()
        await asyncio.wait_for(bot.task, 1)
        await bot.adapter.edit(bot.key, id_, Outgoing("다 썼어요"))
    assert discord.texts() == ["다 썼어요"]
