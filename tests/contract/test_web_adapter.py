"""The web adapter keeps the contract, over real HTTP on the loopback."""

import asyncio
import itertools
import json
from datetime import UTC, datetime

import httpx
import pytest

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import (
    ActionKind,
    ActionResult,
    Attachment,
    Author,
    ChannelKey,
    Outgoing,
    PastMessage,
    SettingView,
)
from kogpt_bot.testing import AdapterContract, RecordingInbox, Seen
from kogpt_bot_web.adapter import WebAdapter
from kogpt_bot_web.rooms import Message
from kogpt_bot_web.settings import WebSettings

AUTHOR = {"id": "u1", "name": "민수"}


class WebHarness:
    def __init__(self) -> None:
        self.adapter = WebAdapter(WebSettings(port=0))
        self.key = ChannelKey("web", "방 하나")
        self.errors: list[str] = []
        self._ids = itertools.count(1)

    async def client(self):
        """Return a client, once the page is served."""
        async with asyncio.timeout(5):
            while not (self.adapter._server and self.adapter._server.started):
                await asyncio.sleep(0.005)
        return httpx.AsyncClient(base_url=self.adapter.url, timeout=5)

    async def say(self, text):
        async with await self.client() as client:
            body = {"id": f"m{next(self._ids)}", "author": AUTHOR, "text": text}
            answer = await client.post("/api/rooms/방 하나/messages", json=body)
            if not answer.is_success:
                self.errors.append(answer.json()["error"])

    async def snapshot(self):
        url = "/api/rooms/방 하나/events"
        async with await self.client() as client, client.stream("GET", url) as stream:
            lines = (line[6:] async for line in stream.aiter_lines() if line[:5] == "data:")
            return json.loads(await anext(lines))["messages"]

    async def press(self, message_id, kind):
        shown = next(m for m in await self.snapshot() if m["id"] == message_id)
        if kind.value not in shown["offers"]:
            raise LookupError(f"no button {kind} under {message_id}")
        async with await self.client() as client:
            body = {"kind": kind.value, "author": AUTHOR, "message_id": message_id}
            answer = await client.post("/api/rooms/방 하나/actions", json=body)
            assert answer.json()["done"]

    async def seen(self):
        return [Seen(m["id"], m["text"]) for m in await self.snapshot() if m["bot"]]

    async def told(self):
        return self.errors


@pytest.fixture
def harness():
    return WebHarness()


@pytest.fixture
async def served(harness):
    """The page with a recording inbox."""
    inbox = RecordingInbox()
    task = asyncio.create_task(harness.adapter.run(inbox))
    async with await harness.client() as client:
        yield client, inbox
    await harness.adapter.stop()
    await asyncio.wait_for(task, 5)


class TestWebAdapter(AdapterContract):
    @pytest.fixture
    def harness(self):
        return WebHarness()


async def test_the_page_has_a_strict_policy_and_no_foreign_sources(served):
    client, _ = served
    for path in (
        "/",
        "/static/app.js",
        "/static/panel.js",
        "/static/style.css",
        "/static/words.js",
        "/nothing",
    ):
        answer = await client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "https://" not in answer.text
        assert answer.status_code == (404 if path == "/nothing" else 200)


async def test_another_host_name_is_not_answered(served):
    client, _ = served
    answer = await client.get("/", headers={"Host": "attacker.example"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("content", "type_", "status"),
    [
        (b"{}", "application/json", 400),
        (b"nonsense", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"x" * 100_000, "application/json", 413),
        (b'{"id":"a b","author":{"id":"u","name":"n"},"text":"t"}', "application/json", 400),
        (b'{"id":"a","author":{"id":"u","name":"  "},"text":"t"}', "application/json", 400),
    ],
)
async def test_bad_bodies_are_refused_in_one_line(served, content, type_, status):
    client, inbox = served
    url = "/api/rooms/a/messages"
    answer = await client.post(url, content=content, headers={"Content-Type": type_})
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]
    assert not inbox.messages


async def test_the_same_message_posted_twice_is_one(served):
    client, inbox = served
    body = {"id": "once", "author": AUTHOR, "text": "안녕"}
    for _ in range(2):
        assert (await client.post("/api/rooms/a/messages", json=body)).status_code == 202
    assert len(inbox.messages) == 1


async def test_a_button_becomes_an_action(served):
    client, inbox = served
    body = {"kind": "stop", "author": AUTHOR}
    answer = await client.post("/api/rooms/a/actions", json=body)
    assert answer.json() == {"done": True, "text": "됐어요."}
    assert inbox.actions[0].kind is ActionKind.STOP


async def test_a_command_becomes_an_action(served):
    client, inbox = served
    body = {"kind": "set", "author": AUTHOR, "name": "stream", "value": "off", "direct": False}
    await client.post("/api/rooms/a/actions", json=body)
    (action,) = inbox.actions
    assert (action.name, action.value, action.direct) == ("stream", "off", False)
    assert action.manager


async def test_settings_and_files_reach_the_page(served):
    client, inbox = served
    views = (SettingView("stream", "켜기", "기본값", "켜기 또는 끄기", ("켜기", "끄기")),)
    inbox.result = ActionResult(True, "됐어요.", views, Attachment("a.json", b"{}"))
    body = {"kind": "settings", "author": AUTHOR}
    answer = (await client.post("/api/rooms/a/actions", json=body)).json()
    assert answer["settings"][0]["choices"] == ["켜기", "끄기"]
    assert answer["file"] == {"name": "a.json", "base64": "e30="}


async def test_the_words_of_every_command_are_given(served):
    client, _ = served
    words = (await client.get("/api/commands")).json()
    assert set(words) == {kind.value for kind in ActionKind}
    assert words["forget"]["ko"]["name"] == "잊어줘"


async def test_what_was_erased_goes_from_open_pages(served, harness):
    client, inbox = served
    await harness.say("내 비밀")
    inbox.past = [
        PastMessage("b1", Author("kogpt-bot", "코코"), "남은 말", datetime.now(UTC), True)
    ]
    for kind in ("forget", "opt_out", "clear"):
        harness.adapter.rooms.get("방 하나").put(Message("x", "민수", "내 비밀", 0.0, False))
        body = {"kind": kind, "author": AUTHOR}
        await client.post("/api/rooms/방 하나/actions", json=body)
        assert [m["text"] for m in await harness.snapshot()] == ["남은 말"]


async def test_a_quiet_room_is_read_again(served, harness, monkeypatch):
    _, inbox = served
    await harness.say("여기서는 지운 말")
    assert [m["text"] for m in await harness.snapshot()] == ["여기서는 지운 말"]
    inbox.past = []  # erased elsewhere
    assert len(await harness.snapshot()) == 1
    monkeypatch.setattr("kogpt_bot_web.rooms.QUIET_S", -1.0)
    assert await harness.snapshot() == []


async def test_a_page_sees_the_answer_grow(served, harness):
    client, _ = served
    await harness.say("안녕")
    async with client.stream("GET", "/api/rooms/방 하나/events") as stream:
        lines = (json.loads(line[6:]) async for line in stream.aiter_lines() if line[:5] == "data:")
        assert (await anext(lines))["type"] == "snapshot"
        await harness.adapter.typing(harness.key)
        id_ = await harness.adapter.send(harness.key, Outgoing("안", final=False, speaker="코코"))
        await harness.adapter.edit(harness.key, id_, Outgoing("안녕", speaker="코코"))
        events = [await anext(lines) for _ in range(3)]
    assert events[0] == {"type": "typing"}
    assert [e["message"]["text"] for e in events[1:]] == ["안", "안녕"]
    assert [e["message"]["final"] for e in events[1:]] == [False, True]
    assert events[1]["message"]["author"] == "코코"


async def test_a_page_that_stops_reading_is_let_go(served, harness):
    await harness.say("안녕")
    room = harness.adapter.rooms.get("방 하나")
    from kogpt_bot_web.rooms import MAX_UNREAD, Watcher

    slow = Watcher()
    room.watchers.add(slow)
    for _ in range(MAX_UNREAD + 5):
        room.tell({"type": "typing"})
    assert slow.lost


async def test_rooms_in_memory_are_bounded(served, harness):
    from kogpt_bot_web.rooms import MAX_ROOMS

    for number in range(MAX_ROOMS + 10):
        await harness.adapter.open_room(f"r{number}")
    assert len(harness.adapter.rooms._rooms) == MAX_ROOMS


async def test_a_taken_port_is_said_in_one_line(served, harness):
    port = int(harness.adapter.url.rsplit(":", 1)[1])
    other = WebAdapter(WebSettings(port=port))
    with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1 port {port}"):
        await other.run(RecordingInbox())
