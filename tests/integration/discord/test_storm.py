"""A network in bad weather and the real core: no message is lost, none is answered twice.

`KOGPT_STORM_MESSAGES` says how many messages; a thousand take some minutes.
"""

import asyncio
import os
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from kogpt_bot.clock import SystemClock
from kogpt_bot.config import Limits
from kogpt_bot.store import Store
from tests.fakes.core import Core, ScriptedModel
from tests.fakes.discord.render import render
from tests.fakes.proxy import Proxy, Weather
from tests.integration.discord.conftest import Bot

MESSAGES = int(os.environ.get("KOGPT_STORM_MESSAGES", "200"))
CHANNELS = 10
WEATHER = Weather(latency_s=0.005, cut=0.01, reset=0.01, slow_close=0.005, lost_request=0.01)


@asynccontextmanager
async def core_with(bot, tmp_path, model=None, **limits):
    """The whole core with the bot as its adapter."""
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/storm.sqlite3")
    wide = {
        "waiting_per_channel": MESSAGES, "waiting_total": 10 * MESSAGES, "burst_window_s": 0,
        "messages_per_minute": 1000, "reply_deadline_s": 300.0,
    }  # fmt: skip
    core = Core(
        store,
        model or ScriptedModel(),
        Limits(**{**wide, **limits}),
        adapter=bot.adapter,
        clock=SystemClock(),
        concurrency=64,
    )
    try:
        yield core
    finally:
        await core.lanes.close(1)
        await store.close()


async def settled(core, count):
    """Return the states of the turns once all have ended."""
    async with asyncio.timeout(100 + MESSAGES / 5):
        while True:
            states = await core.store.turn_states()
            if states.get("replied", 0) >= count:
                return states
            await asyncio.sleep(0.05)


@pytest.mark.timeout(600)
async def test_no_message_is_lost_and_none_is_answered_twice(discord, tmp_path):
    channels = [discord.world.channel(discord.guild, f"방{n}") for n in range(CHANNELS)]
    async with Proxy(discord.port, Weather(), seed=7) as proxy:
        port = f"127.0.0.1:{proxy.port}"
        discord.gateway.url = f"ws://{port}/gateway"
        bot = Bot(discord, api_url=f"http://{port}/api/v10", gateway_url=discord.gateway.url)
        async with core_with(bot, tmp_path) as core, bot.running(core.inbox):
            questions = [await ask(discord, channel, 0) for channel in channels]
            await settled(core, CHANNELS)
            proxy.weather = WEATHER
            for number in range(1, MESSAGES // CHANNELS):
                for channel in channels:
                    questions.append(await ask(discord, channel, number))
                    await asyncio.sleep(0.005)
                if number % 5 == 0:
                    await discord.gateway.invalidate(resumable=number % 10 == 0)
            proxy.weather = Weather()
            states = await settled(core, len(questions))
    assert states == {"replied": len(questions)}
    answers = Counter(
        message["message_reference"]["message_id"]
        for channel in channels
        for message in discord.shown(channel)
    )
    assert answers == Counter(question["id"] for question in questions)
    assert sum(proxy.happened[kind] for kind in ("cut", "reset", "slow_close", "lost_request"))


async def ask(discord, channel, number):
    me = discord.world.bot
    return await discord.say(f"<@{me['id']}> {number}번", channel=channel, mentions=[me])


async def test_answers_in_order_in_each_channel(discord, tmp_path):
    bot = Bot(discord)
    async with core_with(bot, tmp_path) as core, bot.running(core.inbox):
        questions = [await ask(discord, discord.channel, number) for number in range(10)]
        await settled(core, 10)
    references = [each["message_reference"]["message_id"] for each in discord.shown()]
    assert references == [question["id"] for question in questions]
    assert [render(text) for text in discord.texts()]
