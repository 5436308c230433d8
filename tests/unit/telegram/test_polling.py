"""Long polling: nothing is acknowledged before it is stored, and nothing dies in silence."""

import asyncio

import pytest
import telegram

from kogpt_bot.clock import SystemClock
from kogpt_bot.errors import AlreadyRunning, BadCredentials, StoreError
from kogpt_bot.messages import ActionKind
from kogpt_bot_telegram.api import ALLOWED_UPDATES, Api
from kogpt_bot_telegram.intake import MAX_TRIES, Intake
from kogpt_bot_telegram.link import Link
from kogpt_bot_telegram.parsing import Received
from kogpt_bot_telegram.poller import Poller
from tests.fakes.clock import FakeClock
from tests.fakes.telegram import PERSON, FakeTelegram
from tests.unit.telegram.conftest import running


def offsets(fake):
    return [int(call.params.get("offset", 0)) for call in fake.made("getUpdates")]


async def test_what_is_wanted_is_named(fake, bot, inbox):
    for call in fake.made("getUpdates"):
        assert call.params["allowed_updates"] == list(ALLOWED_UPDATES)
    assert "message_reaction" in ALLOWED_UPDATES


async def test_the_offset_moves_past_stored_updates_only(fake, make, inbox):
    inbox.failures = [StoreError("full")]
    fake.say("하나")
    fake.say("둘", chat=fake.group())
    first = fake.updates[0]["update_id"]
    async with running(make(), inbox):
        await inbox.wait_for(2)
        await fake.until(lambda: max(offsets(fake)) > first)
    assert sorted(each.text for each in inbox.messages) == ["둘", "하나"]
    asked = offsets(fake)
    assert asked[0] == 0
    assert asked[1] == first  # again the same
    assert asked[-1] == first + 2


async def test_other_chats_do_not_wait_for_one_that_fails(fake, make, inbox):
    """... and what was taken beside it is not taken twice."""
    group = fake.group()
    fake.say("실패", user=PERSON)
    fake.say("/status", chat=group)
    inbox.failures = [StoreError("full"), StoreError("full")]
    async with running(make(), inbox):
        await inbox.wait_for(1)
        await fake.until(lambda: not fake.updates)
    assert [action.kind for action in inbox.actions] == [ActionKind.STATUS]


async def test_a_stop_says_what_was_taken(fake, make, inbox):
    async with running(make(), inbox):
        fake.say("안녕")
        await inbox.wait_for(1)
    assert fake.updates == []


async def test_the_order_within_a_chat_is_kept(fake, make, inbox):
    group = fake.group()
    for number in range(150):  # more than a batch
        fake.say(str(number), chat=group)
    async with running(make(), inbox):
        await inbox.wait_for(150)
    assert [each.text for each in inbox.messages] == [str(n) for n in range(150)]


async def test_an_edited_message_is_amended(fake, bot, inbox):
    message = fake.say("안뇽")
    fake.change(message, "안녕")
    await fake.until(lambda: inbox.amended)
    (amended,) = inbox.amended
    assert (amended.text, amended.message_id) == ("안녕", inbox.messages[0].message_id)
    assert len(inbox.messages) == 1


async def test_a_wrong_token_ends_it_and_is_not_repeated(fake, make, inbox, monkeypatch):
    monkeypatch.setenv("TELEGRAM_TEST_TOKEN", "1:wrong")
    with pytest.raises(BadCredentials) as caught:
        await make().run(inbox)
    assert "1:wrong" not in str(caught.value)
    assert "; correct it" in str(caught.value)


async def test_a_malformed_token_is_404_and_ends_it_too(fake, make, inbox):
    fake.fail("getMe", 404, "Not Found")
    with pytest.raises(BadCredentials):
        await make().run(inbox)


@pytest.mark.parametrize("method", ["getWebhookInfo", "setMyCommands", "getChatMember"])
async def test_a_server_that_knows_less_will_do(fake, make, inbox, method):
    fake.fail(method, 404, "Not Found", times=99)
    async with running(make(commands=True), inbox):
        fake.say("/clear", chat=fake.group())
        fake.say("안녕")
        await inbox.wait_for(1)
        await fake.until(lambda: inbox.actions)


async def test_a_token_that_is_revoked_ends_it(fake, make, inbox):
    async with running(make(), inbox) as adapter:
        pass
    adapter = make(poll_timeout_s=1)
    task = asyncio.create_task(adapter.run(inbox))
    await fake.until(lambda: adapter.connection().up)
    fake.token = "2:new"
    with pytest.raises(BadCredentials):
        await asyncio.wait_for(task, 20)
    assert not adapter.connection().up


async def test_a_webhook_that_was_set_before_is_taken_back(fake, make, inbox):
    fake.webhook = {"url": "https://old.example/hook", "secret_token": ""}
    async with running(make(), inbox):
        fake.say("안녕")
        await inbox.wait_for(1)
    assert fake.made("deleteWebhook")


async def test_a_second_instance_is_refused(fake, bot, make, inbox):
    with pytest.raises(AlreadyRunning, match=r"another kogpt-bot \(process \d+\).*; end it"):
        await make().run(inbox)


async def test_it_can_be_run_again_after_a_fault(fake, make, inbox):
    fake.fail("getMe", 502, "Bad Gateway")
    adapter = make()
    with pytest.raises(Exception, match="Bad Gateway"):
        await adapter.run(inbox)
    async with running(adapter, inbox):
        fake.say("안녕")
        await inbox.wait_for(1)


class Bench:
    """A poller alone, with a clock of its own."""

    def __init__(self, fake, monkeypatch, **options):
        self.fake = fake
        self.clock = FakeClock()
        self.link = Link()
        self.heard = []
        self.stop = asyncio.Event()
        self.intake = Intake(self.handle)
        self.api = Api(telegram_token(), fake.url)
        options = {"watch_s": 0.01, "stall_margin_s": 0.2} | options
        self.poller = Poller(self.api, self.intake, self.link, self.clock, 1, **options)

    async def handle(self, update):
        self.heard.append(update.message.text)


def telegram_token():
    from kogpt_bot.secret import Secret
    from tests.fakes.telegram import TOKEN

    return Secret(TOKEN)


@pytest.fixture
async def bench(fake, monkeypatch):
    bench = Bench(fake, monkeypatch)
    task = asyncio.create_task(bench.poller.run(bench.stop))
    yield bench
    bench.stop.set()
    await asyncio.wait_for(task, 20)
    await bench.api.close()


async def test_another_poller_is_diagnosed_and_backed_off_from(fake, bench):
    await fake.until(lambda: bench.link.is_up)
    began = bench.clock.time
    fake.fail("getUpdates", 409, "Conflict: terminated by other getUpdates", times=4)
    fake.say("안녕")  # ends the poll that waits
    await fake.until(lambda: bench.link.reconnects == 1)
    assert bench.clock.time - began == pytest.approx(5 + 10 + 20 + 40)
    assert bench.link.reconnects == 1


async def test_who_is_in_the_way_is_said_in_one_line(fake, bench, capsys):
    await fake.until(lambda: bench.link.is_up)
    fake.webhook = {"url": "https://elsewhere.example/secret-path", "secret_token": ""}
    fake.say("x")  # ends the poll that waits
    await fake.until(lambda: bench.link.detail)
    assert bench.link.detail.startswith("a webhook at elsewhere.example is set for this bot")
    assert "secret-path" not in bench.link.detail
    fake.webhook = {}
    await fake.until(lambda: bench.link.is_up)
    fake.fail("getUpdates", 409, "Conflict: terminated by other getUpdates request")
    fake.say("y")
    await fake.until(lambda: bench.link.reconnects == 2)
    assert "another program polls with this bot's token; end it" in capsys.readouterr().out


async def test_outages_are_backed_off_from(fake, bench):
    await fake.until(lambda: bench.link.is_up)
    began = bench.clock.time
    fake.fail("getUpdates", 502, "Bad Gateway", times=3)
    fake.flood("getUpdates", 9)
    fake.say("안녕")
    await fake.until(lambda: bench.link.reconnects == 1)
    assert bench.clock.time - began == pytest.approx(1 + 2 + 4 + 9)


async def test_a_body_that_is_no_json_is_an_outage(fake, bench):
    await fake.until(lambda: bench.link.is_up)
    fake.fail("getUpdates", 200, "", raw=b"<html>")
    fake.say("안녕")
    await fake.until(lambda: bench.heard)


async def test_an_update_that_is_not_understood_is_passed_over(fake, bench):
    await fake.until(lambda: bench.link.is_up)
    fake.updates.append({"update_id": 1, "message": {"nonsense": True}})
    fake.say("안녕")
    fake.say("다음")
    await fake.until(lambda: len(bench.heard) == 2)
    assert bench.heard == ["안녕", "다음"]
    await fake.until(lambda: not fake.updates)


class StandingClock(SystemClock):
    """A clock that a test moves."""

    def __init__(self):
        self.ahead = 0.0

    def monotonic(self):
        return super().monotonic() + self.ahead


async def test_a_poller_that_hangs_is_started_anew(fake, monkeypatch, capsys):
    bench = Bench(fake, monkeypatch)
    bench.clock = StandingClock()
    bench.poller = Poller(
        bench.api, bench.intake, bench.link, bench.clock, 50, watch_s=0.01, stall_margin_s=25
    )
    task = asyncio.create_task(bench.poller.run(bench.stop))
    await fake.until(lambda: len(fake.made("getUpdates")) == 2)
    fake.hang.add("getUpdates")  # as a connection that died without a word
    fake.say("안녕")
    await fake.until(lambda: len(fake.made("getUpdates")) == 3)
    fake.hang.clear()
    fake.say("다음")
    bench.clock.ahead = 76.0  # 50 of the poll, 25 of patience; within the 90 that are promised
    await fake.until(lambda: "다음" in bench.heard)
    assert "poller_restarted" in capsys.readouterr().out
    bench.stop.set()
    await asyncio.wait_for(task, 20)
    await bench.api.close()


async def test_a_handler_that_hangs_is_started_anew_too(fake, monkeypatch):
    bench = Bench(fake, monkeypatch)
    bench.clock = StandingClock()
    stuck = asyncio.Event()

    async def handle(update):
        if not stuck.is_set():
            stuck.set()
            await asyncio.Event().wait()
        bench.heard.append(update.message.text)

    bench.intake = Intake(handle)
    bench.poller = Poller(bench.api, bench.intake, bench.link, bench.clock, 1, watch_s=0.01)
    task = asyncio.create_task(bench.poller.run(bench.stop))
    fake.say("안녕")
    await asyncio.wait_for(stuck.wait(), 20)
    bench.clock.ahead = 86.0
    await fake.until(lambda: bench.heard == ["안녕"])
    bench.stop.set()
    await asyncio.wait_for(task, 20)
    await bench.api.close()


# The intake


def update(number, chat=PERSON["id"]):
    platform = FakeTelegram()
    if chat < 0:
        platform.group(chat)
    message = platform.say(str(number), chat=chat)
    raw = {"update_id": number, "message": message}
    return Received(number, telegram.Update.de_json(raw, None))


async def test_an_update_that_comes_again_is_not_taken_twice():
    taken = []

    async def handle(update):
        taken.append(update.update_id)

    intake = Intake(handle)
    assert await intake.take([update(1), update(2, -5), update(1)]) is None
    assert await intake.take([update(2, -5), Received(3, None)]) is None
    assert sorted(taken) == [1, 2]


async def test_the_first_that_fails_is_where_to_go_on():
    async def handle(update):
        if update.update_id in (2, 3):
            raise StoreError("full")

    assert await Intake(handle).take([update(1), update(2), update(3, -5), update(4)]) == 2


async def test_a_fault_of_our_own_does_not_hold_up_a_chat_for_ever(capsys):
    tried = []

    async def handle(update):
        tried.append(update.update_id)
        raise RuntimeError("a bug")

    intake = Intake(handle)
    for _ in range(MAX_TRIES - 1):
        assert await intake.take([update(1)]) == 1
    assert await intake.take([update(1)]) is None
    assert len(tried) == MAX_TRIES
    capsys.readouterr()


async def test_what_could_not_be_stored_is_never_given_up():
    async def handle(update):
        raise StoreError("full")

    intake = Intake(handle)
    for _ in range(5 * MAX_TRIES):
        assert await intake.take([update(1)]) == 1
