"""A bot that runs against a fake Telegram, and an inbox that writes down what it hears."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from kogpt_bot.messages import ActionResult
from kogpt_bot.testing import RecordingInbox
from kogpt_bot_telegram import pace
from kogpt_bot_telegram.adapter import TelegramAdapter
from kogpt_bot_telegram.settings import TelegramSettings
from tests.fakes.telegram import TOKEN, FakeTelegram


class Desk(RecordingInbox):
    """... and that answers wishes as it is told to."""

    def __init__(self):
        super().__init__()
        self.results = {}  # kind -> ActionResult

    async def wait_for(self, count, timeout_s=20.0):
        return await super().wait_for(count, timeout_s)

    async def act(self, action):
        await super().act(action)
        return self.results.get(action.kind, ActionResult(True, "됐어요."))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("TELEGRAM_TEST_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(pace, "PER_SECOND", 1000.0)  # the pace has tests of its own


@pytest.fixture
async def fake():
    async with FakeTelegram() as fake:
        yield fake


@pytest.fixture
def inbox():
    return Desk()


@pytest.fixture
def make(fake):
    """Make an adapter for the fake."""

    def make(**options):
        options = {"api_url": fake.url, "commands": False} | options
        return TelegramAdapter(TelegramSettings(token_env="TELEGRAM_TEST_TOKEN", **options))

    return make


@asynccontextmanager
async def running(adapter, inbox):
    """Run an adapter until the end of the block."""
    task = asyncio.create_task(adapter.run(inbox))
    try:
        async with asyncio.timeout(20):
            while not adapter.connection().up and not task.done():
                await asyncio.sleep(0.002)
        yield adapter
        await adapter.stop()
        await asyncio.wait_for(task, 20)
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def bot(make, inbox):
    """A bot that runs."""
    async with running(make(), inbox) as adapter:
        yield adapter
