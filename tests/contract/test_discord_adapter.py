"""The Discord adapter keeps the contract: the real client, over TCP, with a Discord of ours."""

import pytest

from kogpt_bot.messages import ChannelKey
from kogpt_bot.testing import AdapterContract, Seen
from kogpt_bot_discord.adapter import DiscordAdapter
from kogpt_bot_discord.settings import DiscordSettings
from kogpt_bot_discord.shards import Pacing
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.render import render
from tests.fakes.discord.server import COMPONENT, TOKEN

FAST = Pacing(first_s=0.01, cap_s=0.05, identify_s=0.0)


class DiscordHarness:
    def __init__(self, discord):
        self.discord = discord
        settings = DiscordSettings(
            token_env="TEST_DISCORD_TOKEN",
            api_url=discord.api_url,
            gateway_url=discord.gateway_url,
        )
        self.adapter = DiscordAdapter(settings, FAST)
        self.key = ChannelKey("discord", discord.channel["id"], discord.guild["id"])

    async def say(self, text):
        await self.discord.connected()
        await self.discord.say(text)

    async def seen(self):
        return [Seen(each["id"], render(each["content"])) for each in self.discord.shown()]

    async def told(self):
        return self.discord.texts()

    async def press(self, message_id, kind):
        message = self.discord.world.messages[self.discord.channel["id"]][message_id]
        ids = [part["custom_id"] for row in message["components"] for part in row["components"]]
        custom_id = next((each for each in ids if f":{kind.value}:" in each), None)
        if custom_id is None:
            raise LookupError(kind)
        data = {"custom_id": custom_id, "component_type": 2}
        known = await self.discord.interact(COMPONENT, data, message=message)
        await self.discord.gateway.wait_until(lambda: known["shown"])  # what came of it


@pytest.fixture
async def discord(monkeypatch):
    monkeypatch.setenv("TEST_DISCORD_TOKEN", TOKEN)
    fake = FakeDiscord()
    await fake.start()
    yield fake
    await fake.stop()


class TestDiscordAdapter(AdapterContract):
    @pytest.fixture
    def harness(self, discord):
        return DiscordHarness(discord)
