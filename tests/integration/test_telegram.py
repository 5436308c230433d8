"""The whole core on Telegram: bad networks, floods, and generated texts that would like to ping.

`TELEGRAM_MESSAGES=1000` (or any number) makes the run through the bad network a long one.
"""

import asyncio
import os
import random
import re
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from kogpt_bot.config import Limits
from kogpt_bot.conversation.manager import Piece
from kogpt_bot.store import Store
from kogpt_bot.store.database import sqlite_url
from kogpt_bot_telegram import pace
from kogpt_bot_telegram.adapter import TelegramAdapter
from kogpt_bot_telegram.settings import TelegramSettings
from tests.fakes.core import AT_ONCE, Core, ScriptedModel
from tests.fakes.proxy import Proxy, Weather
from tests.fakes.telegram import TOKEN, FakeTelegram

MESSAGES = int(os.environ.get("TELEGRAM_MESSAGES", "200"))
CHATS = 20
OPEN = {"received", "waiting", "generating", "sending"}
LIMITS = Limits(reply_deadline_s=3000, waiting_per_channel=1000, waiting_total=10_000, **AT_ONCE)


class Echo(ScriptedModel):
    """Answers `질문 17번` with `17번 답`, piece by piece."""

    def __init__(self, pieces=3, pause=0.0):
        super().__init__()
        self.pieces, self.pause = pieces, pause

    async def generate(self, ask):
        number = re.findall(r"질문 (\d+)번", ask.prompt.text)[-1]
        yield Piece(f" {number}번 답")
        for _ in range(self.pieces):
            await asyncio.sleep(self.pause)
            yield Piece(" 네")
        yield Piece("", "stop")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("TELEGRAM_TEST_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    # Telegram's real limits would make an hour of this; their own test is a unit test.
    monkeypatch.setattr(pace, "PER_SECOND", 1000.0)
    monkeypatch.setattr(pace, "TOTAL_PER_SECOND", 10_000.0)
    monkeypatch.setattr(pace, "PER_GROUP_WINDOW", 10_000)


@asynccontextmanager
async def daemon(tmp_path, model, url, *, interval_s=0.05, group_interval_s=0.05):
    """Run the core with the Telegram adapter."""
    adapter = TelegramAdapter(
        TelegramSettings(token_env="TELEGRAM_TEST_TOKEN", api_url=url, poll_timeout_s=1)
    )
    for name, interval in (("capabilities", interval_s), ("_in_private", interval_s)):
        setattr(adapter, name, replace(getattr(adapter, name), min_edit_interval_s=interval))
    adapter._in_groups = replace(adapter._in_groups, min_edit_interval_s=group_interval_s)
    store = await Store.open(sqlite_url(tmp_path / "db.sqlite3"))
    core = Core(store, model, LIMITS, adapter=adapter, concurrency=64)
    task = asyncio.create_task(adapter.run(core.inbox))
    try:
        yield core
    finally:
        await adapter.stop()
        await asyncio.wait([task], timeout=10)
        task.cancel()
        await core.lanes.close(1)
        await store.close()


def people(count):
    return [{"id": 2000 + n, "is_bot": False, "first_name": f"사람{n}"} for n in range(count)]


async def settled(core, count, patience_s):
    """Wait until so many turns have come to their end."""
    async with asyncio.timeout(patience_s):
        while True:
            states = await core.store.turn_states()
            if sum(states.values()) == count and not OPEN & states.keys():
                return states
            await asyncio.sleep(0.02)


@pytest.mark.timeout(60 + MESSAGES)
async def test_in_a_bad_network_nothing_is_lost_and_nothing_answered_twice(tmp_path):
    weather = Weather(latency_s=0.01, cut=0.04, reset=0.04, slow_close=0.02, lost_request=0.03)
    async with (
        FakeTelegram() as fake,
        Proxy(fake.port) as proxy,
        daemon(tmp_path, Echo(), f"http://127.0.0.1:{proxy.port}") as core,
    ):
        await fake.until(lambda: core.adapter.connection().up)
        proxy.weather = weather
        users = people(CHATS)
        chats = [
            fake.private(user) if n % 2 else fake.group(-1000 - n) for n, user in enumerate(users)
        ]
        for number in range(MESSAGES):
            place = number % CHATS
            text = f"코코야, 질문 {number}번"
            fake.say(text, chat=chats[place], user=users[place])
            if number % 10 == 0:
                await asyncio.sleep(0.01)
        states = await settled(core, MESSAGES, 30 + MESSAGES)
        proxy.weather = Weather()
    shown = [text for chat in chats for text in fake.texts(chat)]
    answered = Counter(re.match(r"(\d+)번 답", text)[1] for text in shown)
    assert answered.most_common(1)[0][1] == 1, "answered twice"
    assert sum(proxy.happened[kind] for kind in ("cut", "reset", "slow_close")) > MESSAGES / 10
    assert set(states) <= {"replied", "unknown"}
    assert states["replied"] <= len(answered) <= MESSAGES
    print(dict(states), dict(proxy.happened))


@pytest.mark.timeout(60)
async def test_fifty_chats_stream_at_once_and_none_calls_before_its_flood_wait_is_over(tmp_path):
    draw = random.Random(7)
    async with (
        FakeTelegram() as fake,
        daemon(tmp_path, Echo(pieces=30, pause=0.05), fake.url) as core,
    ):
        await fake.until(lambda: core.adapter.connection().up)
        users = people(50)
        chats = [
            fake.private(user) if n % 2 else fake.group(-1000 - n) for n, user in enumerate(users)
        ]
        for chat in chats:
            for method in ("sendMessage", "editMessageText", "sendMessageDraft"):
                if draw.random() < 0.6:
                    fake.flood(method, 1, chat=chat, times=draw.randrange(1, 3))
        for number, (chat, user) in enumerate(zip(chats, users, strict=True)):
            fake.say(f"코코야, 질문 {number}번", chat=chat, user=user)
        states = await settled(core, 50, 50)
    assert states == {"replied": 50}
    assert fake.early == []
    refused = [
        call for call in fake.calls if call.method in ("editMessageText", "sendMessageDraft")
    ]
    assert len(refused) > 200
    for number, chat in enumerate(chats):
        assert fake.texts(chat) == [f"{number}번 답" + " 네" * 30]


@pytest.mark.timeout(60)
async def test_an_answer_that_has_used_up_a_groups_minute_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "PER_GROUP_WINDOW", 20)
    async with (
        FakeTelegram() as fake,
        daemon(tmp_path, Echo(pieces=40, pause=0.1), fake.url) as core,
    ):
        await fake.until(lambda: core.adapter.connection().up)
        group = fake.group(-1000)
        fake.say("코코야, 질문 7번", chat=group)
        states = await settled(core, 1, 30)
    assert states == {"replied": 1}
    assert fake.texts(group) == ["7번 답" + " 네" * 40]
    assert len(fake.edits) == 15  # and the message that was sent makes 16 of 20


class Babbler(Echo):
    """Generates what would ping, if it could."""

    def __init__(self):
        super().__init__()
        self.draw = random.Random(3)

    async def generate(self, ask):
        pieces = [
            "@",
            "koko_bot",
            "everyone ",
            "/",
            "stop ",
            "<b>",
            "가",
            " ",
            "[a](tg://user?id=1)",
            "😀",
        ]
        for _ in range(30):
            yield Piece("".join(self.draw.choices(pieces, k=4)))
            await asyncio.sleep(0)
        yield Piece("", "stop")


@pytest.mark.timeout(60)
async def test_what_is_generated_pings_nobody(tmp_path):
    async with (
        FakeTelegram() as fake,
        daemon(tmp_path, Babbler(), fake.url, interval_s=0.001) as core,
    ):
        users = people(CHATS)
        chats = [
            fake.private(user) if n % 2 else fake.group(-1000 - n) for n, user in enumerate(users)
        ]
        for number in range(60):
            place = number % CHATS
            fake.say(f"코코야, 질문 {number}번", chat=chats[place], user=users[place])
        states = await settled(core, 60, 50)
    assert states == {"replied": 60}
    assert fake.pings == []
    assert fake.drafts
    assert fake.edits
    kinds = {e["type"] for chat in chats for m in fake.shown(chat) for e in m.get("entities", ())}
    assert kinds <= {"url"}
    assert any("@koko_bot" in text for chat in chats for text in fake.texts(chat))
