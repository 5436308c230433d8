"""What the doctor says about Telegram."""

import asyncio
import socket

import pytest

from kogpt_bot_telegram import PLUGIN
from kogpt_bot_telegram.settings import TelegramSettings, WebhookSettings
from tests.fakes.telegram import TOKEN


async def diagnose(settings, *, online=False):
    """Ask in a thread: the doctor has a loop of its own."""
    return await asyncio.to_thread(PLUGIN.diagnose, settings, online)


def wrong(found):
    return [(each.name, each.serious) for each in found if each.remedy]


@pytest.fixture
def settings(fake):
    return lambda **more: TelegramSettings(
        token_env="TELEGRAM_TEST_TOKEN", api_url=fake.url, **more
    )


async def test_a_good_bot(fake, settings):
    found = await diagnose(settings(), online=True)
    assert wrong(found) == []
    assert [each.name for each in found] == ["token", "telegram", "updates"]
    assert "@koko_bot; in groups it hears mentions, replies and commands" in found[1].finding
    assert TOKEN not in str(found)


async def test_telegram_is_asked_only_when_it_may_be(fake, settings):
    await diagnose(settings())
    assert fake.calls == []


async def test_no_token():
    (found,) = await diagnose(TelegramSettings())
    assert found.remedy.startswith("set token_env: TELEGRAM_BOT_TOKEN")


@pytest.mark.parametrize("token", ["abc", "123:short", TOKEN + " x"])
async def test_what_is_no_token(settings, monkeypatch, token):
    monkeypatch.setenv("TELEGRAM_TEST_TOKEN", token)
    found = await diagnose(settings(), online=True)
    assert wrong(found) == [("token", True)]
    assert token not in str(found)


async def test_a_token_that_telegram_refuses(settings, monkeypatch):
    other = "987654321:" + "x" * 35
    monkeypatch.setenv("TELEGRAM_TEST_TOKEN", other)
    found = await diagnose(settings(), online=True)
    assert wrong(found) == [("telegram", True)]
    assert other not in str(found)


async def test_telegram_cannot_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = TelegramSettings(token_env="TELEGRAM_TEST_TOKEN", api_url=f"http://127.0.0.1:{port}")
    assert wrong(await diagnose(settings, online=True)) == [("telegram", True)]


async def test_a_foreign_webhook(fake, settings):
    fake.webhook = {"url": "https://old.example/x", "secret_token": ""}
    found = await diagnose(settings(), online=True)
    assert wrong(found) == [("updates", False)]
    assert "old.example" in found[-1].finding


async def test_a_webhook_of_ours(fake, settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        webhook = WebhookSettings(url="http://bot.example/x", port=port)
        found = await diagnose(settings(webhook=webhook), online=True)
    assert wrong(found) == [("webhook url", True), ("webhook port", False)]
    fake.webhook = {
        "url": "https://bot.example/x", "secret_token": "", "last_error_date": 1,
        "last_error_message": "Connection refused",
    }  # fmt: skip
    webhook = WebhookSettings(url="https://bot.example/x", port=0)
    found = await diagnose(settings(webhook=webhook), online=True)
    assert wrong(found) == [("updates", False)]
    assert "Connection refused" in found[-1].finding
