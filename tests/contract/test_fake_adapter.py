"""The fake that the core is tested with keeps the contract of the real ones."""

import pytest

from kogpt_bot.messages import ChannelKey
from kogpt_bot.testing import AdapterContract, FakeAdapter, Seen


class FakeHarness:
    def __init__(self) -> None:
        self.adapter = FakeAdapter()
        self.key = ChannelKey("fake", "room")

    async def say(self, text):
        try:
            await self.adapter.say(text)
        except Exception as error:
            self.adapter.refusals.append((self.key, repr(error)))

    async def press(self, message_id, kind):
        await self.adapter.press(message_id, kind)

    async def seen(self):
        shown = self.adapter.shown.get(self.key, {})
        return [Seen(id_, message.text) for id_, message in shown.items()]

    async def told(self):
        return [text for _, text in self.adapter.refusals]


class TestFakeAdapter(AdapterContract):
    @pytest.fixture
    def harness(self):
        return FakeHarness()
