"""A Discord of ours, and a bot that runs in it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from kogpt_bot.messages import ChannelKey
from kogpt_bot.testing import RecordingInbox
from kogpt_bot_discord.adapter import DiscordAdapter
from kogpt_bot_discord.settings import DiscordSettings
from kogpt_bot_discord.shards import Pacing
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.server import TOKEN

FAST = Pacing(first_s=0.01, cap_s=0.05, identify_s=0.0)


class Bot:
    """The adapter in the fake, with an inbox that records unless another is given."""

    def __init__(self, discord, pacing=FAST, **settings):
        self.discord = discord
        own = DiscordSettings(
            token_env="TEST_DISCORD_TOKEN",
            api_url=discord.api_url,
            gateway_url=discord.gateway_url,
        )
        self.adapter = DiscordAdapter(replace(own, **settings), pacing)
        self.inbox = RecordingInbox()
        self.key = ChannelKey("discord", discord.channel["id"], discord.guild["id"])
        self.task = None

    @asynccontextmanager
    async def running(self, inbox=None, shards=1):
        self.task = asyncio.create_task(self.adapter.run(inbox or self.inbox))
        try:
            connected = asyncio.create_task(self.discord.connected(shards))
            await asyncio.wait([self.task, connected], return_when=asyncio.FIRST_COMPLETED)
            if not connected.done():
                connected.cancel()
                await self.task
            await connected
            yield self
            await self.adapter.stop()
            await asyncio.wait_for(self.task, 10)
        finally:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def until(self, condition):
        """Return once a condition of the inbox holds."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def discord(monkeypatch):
    monkeypatch.setenv("TEST_DISCORD_TOKEN", TOKEN)
    fake = FakeDiscord()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def bot(discord):
    return Bot(discord)


@pytest.fixture
def make_bot(discord):
    return lambda **settings: Bot(discord, **settings)
