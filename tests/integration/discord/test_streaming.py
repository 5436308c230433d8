"""Fifty channels stream at once under rate limits; whatever is generated pings nobody.

`KOGPT_FUZZED_TEXTS` says how many generated texts are tried.
"""

import asyncio
import itertools
import os
import random
from dataclasses import replace

import pytest

from kogpt_bot.conversation.manager import Piece
from kogpt_bot.messages import Outgoing
from kogpt_bot_discord.adapter import CAPABILITIES
from tests.fakes.core import ScriptedModel
from tests.fakes.discord.render import effects, render
from tests.integration.discord.conftest import Bot
from tests.integration.discord.test_storm import ask, core_with, settled

CHANNELS = 50
PIECES = 25
INTERVAL_S = 0.1
TEXTS = int(os.environ.get("KOGPT_FUZZED_TEXTS", "500"))


class SlowModel(ScriptedModel):
    """Writes a piece now and then, mentions of everybody among them."""

    async def generate(self, ask):
        self.asks.append(ask)
        for number in range(PIECES):
            await asyncio.sleep(0.06)
            yield Piece(f" 말{number}" if number % 5 else " @everyone <@123456789012345678>")
        yield Piece("", "stop")


@pytest.fixture
def fast_edits(monkeypatch):
    quick = replace(CAPABILITIES, min_edit_interval_s=INTERVAL_S)
    monkeypatch.setattr("kogpt_bot_discord.adapter.DiscordAdapter.capabilities", quick)


@pytest.mark.usefixtures("fast_edits")
async def test_fifty_channels_never_call_before_they_may(discord, tmp_path):
    bot = Bot(discord)
    channels = [discord.world.channel(discord.guild, f"방{n}") for n in range(CHANNELS)]
    discord.rest.refuse(chance=0.3, seconds=(0.1, 0.4), seed=3)
    async with core_with(bot, tmp_path, SlowModel()) as core, bot.running(core.inbox):
        await asyncio.gather(*(ask(discord, channel, 0) for channel in channels))
        states = await settled(core, CHANNELS)
    assert states == {"replied": CHANNELS}
    refused = [call for call in discord.rest.calls if call.status == 429]
    assert len(refused) > CHANNELS // 5
    assert discord.rest.early == []
    for channel in channels:
        (text,) = discord.texts(channel)
        assert text.count("@everyone") == PIECES // 5
        assert text.endswith(f"말{PIECES - 1}")
    for call in discord.rest.calls:
        if "/messages" in call.path and call.method in ("POST", "PATCH"):
            assert call.body["allowed_mentions"]["parse"] == []
            assert "<@1" not in call.body["content"]
    assert len(discord.calls("PATCH", "/messages/")) > CHANNELS


@pytest.mark.usefixtures("fast_edits")
async def test_edits_of_a_message_keep_their_distance(discord, tmp_path):
    bot = Bot(discord)
    async with core_with(bot, tmp_path, SlowModel()) as core, bot.running(core.inbox):
        await ask(discord, discord.channel, 0)
        await settled(core, 1)
    times = [call.at for call in discord.calls("PATCH", "/messages/")]
    assert len(times) > 2
    # A call may reach the server late and the next one early; never by half the distance.
    assert all(later - sooner > INTERVAL_S / 2 for sooner, later in itertools.pairwise(times))


TRICKS = [
    "@everyone", "@here", "@Everyone", "@\u200beveryone", "<@123456789012345678>",
    "<@!123456789012345678>", "<@&123456789012345678>", "<#123456789012345678>", "<@", "&", "!",
    "123456789012345678>", "\\<@123456789012345678>", "`<@123456789012345678>`", "```", "`",
    "[@everyone](https://example.com)", "https://x/@everyone", "> ", "# ", "- ", "\n", " ", "\\",
    "\u200b", "\u2060", "\u202e", "\ufeff", "\u00ad", "\x00", "\ud800", "가나다", "😀", "_", "*",
    "||", "~~", "<id:customize>", "</kogpt chat:123456789012345678>", "@", "everyone", "here",
]  # fmt: skip


async def test_fuzzed_texts_ping_nobody(discord):
    chance = random.Random(11)
    bot = Bot(discord)
    async with bot.running():
        for number in range(TEXTS):
            text = "".join(chance.choices(TRICKS, k=chance.randint(1, 30)))[:2000]
            if not text.strip():
                continue
            id_ = await bot.adapter.send(bot.key, Outgoing(text, nonce=f"f{number}", final=False))
            await bot.adapter.edit(bot.key, id_, Outgoing(text + "!"))
            shown = discord.world.messages[discord.channel["id"]][id_]["content"]
            assert effects(shown) == []
            assert render(shown) == f"{text}!".replace("\ud800", "\ufffd")
    for call in discord.rest.calls:
        if "content" in call.body:
            assert call.body["allowed_mentions"] == {
                "parse": [], "users": [], "roles": [], "replied_user": False
            }  # fmt: skip
            assert "<@1" not in call.body["content"]
            assert "<@&" not in call.body["content"]
