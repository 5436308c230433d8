"""The Telegram adapter keeps the contract, with the real library over HTTP on the loopback.

What people see is compared: characters without width, which break names and commands in what the
bot says, are not seen. `tests/unit/telegram/test_text.py` holds that they are there.
"""

import pytest

from kogpt_bot import COMMANDS, ChannelKey
from kogpt_bot.testing import AdapterContract, Seen
from kogpt_bot_telegram.adapter import TelegramAdapter
from kogpt_bot_telegram.settings import TelegramSettings
from tests.fakes.telegram import PERSON, TOKEN, FakeTelegram
from tests.fakes.telegram.platform import visible


class TelegramHarness:
    def __init__(self, fake: FakeTelegram) -> None:
        self.fake = fake
        settings = TelegramSettings(token_env="TELEGRAM_TEST_TOKEN", api_url=fake.url)
        self.adapter = TelegramAdapter(settings)
        self.key = ChannelKey("telegram", str(PERSON["id"]))

    async def say(self, text):
        self.fake.say(text)

    async def seen(self):
        return [Seen(str(m["message_id"]), visible(m["text"])) for m in self.fake.shown()]

    async def press(self, message_id, kind):
        message = self.fake.messages[PERSON["id"]][int(message_id)]
        label = COMMANDS[kind].emoji
        rows = message.get("reply_markup", {}).get("inline_keyboard", [])
        if label not in [button["text"] for row in rows for button in row]:
            raise LookupError(f"no button {kind}")
        query = self.fake.press(PERSON["id"], int(message_id), label)
        answered = lambda: any(a["callback_query_id"] == query["id"] for a in self.fake.answers)  # noqa: E731
        await self.fake.until(answered)

    async def told(self):
        return self.fake.texts()


class TestTelegramAdapter(AdapterContract):
    @pytest.fixture
    async def harness(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TELEGRAM_TEST_TOKEN", TOKEN)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        async with FakeTelegram() as fake:
            yield TelegramHarness(fake)
