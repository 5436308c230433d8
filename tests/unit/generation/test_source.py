"""What the daemon asks of a service, beside the text."""

import hashlib

import pytest

from kogpt_bot.conversation.manager import Ask
from kogpt_bot.conversation.prompt import Prompt
from kogpt_bot.conversation.settings import Sampling
from kogpt_bot.generation.client import Delta
from kogpt_bot.generation.source import ServedModelSource
from kogpt_bot.messages import ChannelKey
from kogpt_bot.pseudonym import Pseudonyms

ROOM = ChannelKey("discord", "81384788765712384", "197038439483310086")


class FakeClient:
    """Keeps what it is asked for."""

    def __init__(self):
        self.asked = []

    async def stream(self, completion):
        self.asked.append(completion)
        yield Delta("네", "stop")


async def session_of(key, secret):
    client = FakeClient()
    source = ServedModelSource(client, Pseudonyms(secret))
    ask = Ask(Prompt((1, 2), "안녕", (), ()), Sampling(), seed=1, key=key, priority=0)
    assert [each.text async for each in source.generate(ask)] == ["네"]
    return client.asked[0].session


async def test_a_session_is_one_channels_and_always_the_same():
    first = await session_of(ROOM, b"k" * 32)
    assert await session_of(ROOM, b"k" * 32) == first
    others = [
        ChannelKey("discord", "1", ROOM.guild), ChannelKey("telegram", ROOM.channel, ROOM.guild),
        ChannelKey("discord", ROOM.channel), ChannelKey("discord", ROOM.channel, ROOM.guild, "t"),
    ]  # fmt: skip
    assert len({first, *[await session_of(each, b"k" * 32) for each in others]}) == 5


async def test_a_session_cannot_be_found_by_trying_channels():
    """Nothing but the key, which stays with the daemon, leads from a channel to its session."""
    first = await session_of(ROOM, b"k" * 32)
    assert await session_of(ROOM, b"q" * 32) != first
    plain = hashlib.sha256(str(ROOM).encode()).hexdigest()
    assert not plain.startswith(first[:8])
    assert ROOM.channel not in first


@pytest.mark.parametrize("key", [ROOM, ChannelKey("fake", "person:u1")])
async def test_a_session_is_no_pseudonym_of_another_kind(key):
    """Who reads the records and the service's sees nothing that is in both."""
    pseudonyms = Pseudonyms(b"k" * 32)
    session = await session_of(key, b"k" * 32)
    for other in (pseudonyms.text(str(key)), pseudonyms.person(key.adapter, key.channel)):
        assert session[:16] != other[:16]
