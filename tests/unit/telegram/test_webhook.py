"""Webhook mode: who may call, how much, and when Telegram hears 200."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import httpx
import pytest

from kogpt_bot.errors import ConfigurationError, StoreError
from kogpt_bot_telegram import receiver
from kogpt_bot_telegram.settings import WebhookSettings
from kogpt_bot_telegram.webhook import MAX_BODY_BYTES, SECRET_HEADER
from tests.unit.telegram.conftest import running

SECRET = "a-secret_1"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
async def hooked(fake, make, inbox, monkeypatch):
    """A bot that is called; gives its address."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    port = free_port()
    url = f"http://127.0.0.1:{port}/tg/hook"
    webhook = WebhookSettings(url=url, port=port, secret_env="HOOK_SECRET")
    async with running(make(webhook=webhook), inbox):
        yield url


@asynccontextmanager
async def client():
    async with httpx.AsyncClient(timeout=5, headers={SECRET_HEADER: SECRET}) as client:
        yield client


async def test_messages_come_in(fake, hooked, inbox):
    fake.say("하나")
    fake.say("둘")
    await inbox.wait_for(2)
    assert [each.text for each in inbox.messages] == ["하나", "둘"]
    await fake.until(lambda: fake.delivered == [200, 200])
    assert not fake.made("getUpdates")


async def test_what_is_set(fake, hooked):
    (call,) = fake.made("setWebhook")
    assert call.params["url"] == hooked
    assert call.params["secret_token"] == SECRET
    assert "message_reaction" in call.params["allowed_updates"]
    assert "drop_pending_updates" not in call.params


async def test_what_is_not_stored_is_not_acknowledged(fake, hooked, inbox):
    inbox.failures = [StoreError("full"), StoreError("full")]
    fake.say("안녕")
    await inbox.wait_for(1)
    await fake.until(lambda: fake.delivered == [503, 503, 200])


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + "x", SECRET[:-1], "비밀"])
async def test_without_the_secret_nobody_is_heard(fake, hooked, inbox, secret):
    update = {"update_id": 1, "message": fake.say("안녕")}
    headers = {SECRET_HEADER: secret.encode()} if secret else {}
    async with httpx.AsyncClient(timeout=5) as stranger:
        answer = await stranger.post(hooked, json=update, headers=headers)
    assert answer.status_code == 403
    assert len(inbox.messages) <= 1  # the platform's own delivery


async def test_the_secret_is_compared_in_constant_time(fake, hooked, monkeypatch):
    import hmac

    compared = []
    true_compare = hmac.compare_digest
    monkeypatch.setattr(
        hmac, "compare_digest", lambda a, b: compared.append((a, b)) or true_compare(a, b)
    )
    async with client() as telegram:
        await telegram.post(hooked, content=b"{}")
    assert compared == [(SECRET.encode(), SECRET.encode())]


async def test_a_body_is_a_mebibyte_at_most(fake, hooked, inbox):
    async def endless():
        for _ in range(64):
            yield b" " * 65536

    async with client() as telegram:
        declared = await telegram.post(hooked, content=b" " * (MAX_BODY_BYTES + 1))
        assert declared.status_code == 413
        chunked = await telegram.post(hooked, content=endless())
        assert chunked.status_code == 413
        full = json.dumps({"update_id": 1}).encode().ljust(MAX_BODY_BYTES)
        assert (await telegram.post(hooked, content=full)).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"5", b"{}", b'{"update_id": "x"}', b"[" * 5000, b"\xff"]
)
async def test_nonsense_is_a_bad_request(hooked, inbox, body):
    async with client() as telegram:
        assert (await telegram.post(hooked, content=body)).status_code == 400
    assert not inbox.messages


async def test_other_paths_and_methods_are_not_answered(hooked):
    async with client() as telegram:
        assert (await telegram.get(hooked)).status_code == 405
        assert (await telegram.post(hooked + "/more")).status_code == 404
        assert (await telegram.post(hooked.removesuffix("/tg/hook") + "/")).status_code == 404


async def test_a_call_that_comes_twice_is_carried_out_once(fake, hooked, inbox):
    update = {"update_id": 77, "message": fake.say("/status")}
    async with client() as telegram:
        for _ in range(2):
            assert (await telegram.post(hooked, json=update)).status_code == 200
    await fake.until(lambda: fake.delivered)
    assert sum(each == 200 for each in fake.delivered) == 1
    assert len(inbox.actions) == 2  # the platform's own delivery has an id of its own


async def test_without_a_secret_of_the_owners_one_is_made(fake, make, inbox):
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    async with running(make(webhook=WebhookSettings(url=url, port=port)), inbox):
        fake.say("안녕")
        await inbox.wait_for(1)
    (call,) = fake.made("setWebhook")
    assert len(call.params["secret_token"]) >= 32


async def test_the_webhook_stays_set_at_a_stop(fake, make, inbox):
    port = free_port()
    webhook = WebhookSettings(url=f"http://127.0.0.1:{port}/hook", port=port)
    async with running(make(webhook=webhook), inbox):
        pass
    assert fake.webhook["url"]
    assert not fake.made("deleteWebhook")


async def test_an_address_that_telegram_refuses_is_a_configuration_error(fake, make, inbox):
    fake.fail("setWebhook", 400, "Bad Request: bad webhook: IP address 10.0.0.1 is reserved")
    webhook = WebhookSettings(url="https://bot.example/hook", port=0)
    with pytest.raises(ConfigurationError, match=r"webhook\.url.*is reserved"):
        await make(webhook=webhook).run(inbox)


async def test_a_taken_port_is_said_in_one_line(fake, make, inbox):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        webhook = WebhookSettings(url="https://bot.example/hook", port=port)
        with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1 port {port}"):
            await make(webhook=webhook).run(inbox)


async def test_a_webhook_that_somebody_changed_is_set_again(fake, make, inbox, monkeypatch):
    monkeypatch.setattr(receiver, "WEBHOOK_WATCH_S", 0.01)
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    adapter = make(webhook=WebhookSettings(url=url, port=port))
    async with running(adapter, inbox):
        fake.webhook["url"] = "https://other.example/"
        await fake.until(lambda: fake.webhook["url"] == url)
        fake.webhook |= {"last_error_date": 1, "last_error_message": "Connection refused"}
        await fake.until(lambda: "Connection refused" in adapter.connection().detail)
        await fake.until(lambda: adapter.connection().up)  # no new error since


async def test_a_cancelled_run_gives_the_port_back(fake, make, inbox):
    port = free_port()
    adapter = make(webhook=WebhookSettings(url="https://bot.example/hook", port=port))
    task = asyncio.create_task(adapter.run(inbox))
    await fake.until(lambda: adapter.connection().up)
    task.cancel()
    await asyncio.wait([task], timeout=20)
    socket.create_server(("127.0.0.1", port)).close()
