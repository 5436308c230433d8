"""The terminal adapter keeps the contract."""

import asyncio
import io
import re

import pytest

from kogpt_bot.messages import (
    ActionKind,
    ActionResult,
    Attachment,
    ChannelKey,
    Outgoing,
    SettingView,
)
from kogpt_bot.testing import AdapterContract, RecordingInbox, Seen
from kogpt_bot_terminal.adapter import TerminalAdapter
from kogpt_bot_terminal.commands import parse
from kogpt_bot_terminal.settings import TerminalSettings


class Keyboard:
    """What the person types; `typed` waits until the adapter asks for a line."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def read(self, prompt):
        return await self._lines.get()

    def type(self, line):
        self._lines.put_nowait(line)


class TerminalHarness:
    def __init__(self) -> None:
        self.keyboard = Keyboard()
        self.output = io.StringIO()
        self.adapter = TerminalAdapter(TerminalSettings(), self.keyboard, self.output)
        self.key = ChannelKey("terminal", "terminal")

    async def say(self, text):
        self.keyboard.type(text)

    async def seen(self):
        """Read the screen: `봇> ` begins a message, `봇 (고침)> ` replaces the one before."""
        found: list[str] = []
        for fixed, text in re.findall(
            r"^봇( \(고침\))?> (.*?)(?=\n(?:봇[ >]|! )|\n\Z|\Z)",
            self.output.getvalue(),
            re.M | re.S,
        ):
            if fixed:
                found.pop()
            found.append(text)
        newest = next(iter(self.adapter._shown), "")
        return [Seen(newest, text) for text in found]

    async def told(self):
        return re.findall(r"^! (.*)$", self.output.getvalue(), re.M)


@pytest.fixture
def harness():
    return TerminalHarness()


class TestTerminalAdapter(AdapterContract):
    @pytest.fixture
    def harness(self):
        return TerminalHarness()


async def test_commands_become_actions(harness):
    inbox = RecordingInbox()
    for line in ("/다시", "/지우기", "/무엇", "/끝"):
        harness.keyboard.type(line)
    task = asyncio.create_task(harness.adapter.run(inbox))
    await asyncio.sleep(0)
    while len(inbox.actions) < 1:
        await asyncio.sleep(0)
    await harness.adapter.send(harness.key, Outgoing("부드러운 말로 해 주세요."))
    assert len(inbox.actions) == 1  # a notice is no answer: the next line is not read yet
    await harness.adapter.send(harness.key, Outgoing("다시 쓴 답", speaker="코코"))
    await asyncio.wait_for(task, 5)
    assert [action.kind for action in inbox.actions] == [ActionKind.REGENERATE, ActionKind.CLEAR]
    assert "Ctrl-C" in harness.output.getvalue()


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        ("/설정바꾸기 sampling.temperature 0.7", ActionKind.SET, ("sampling.temperature", "0.7")),
        (
            "/set  trigger.wake_words 코코야, 봇",
            ActionKind.SET,
            ("trigger.wake_words", "코코야, 봇"),
        ),
        ("/reset", ActionKind.RESET, ("", "")),
        ("/PERSONA 시인", ActionKind.PERSONA, ("", "시인")),
        ("/report 이상한 말을 했어요", ActionKind.REPORT, ("", "이상한 말을 했어요")),
        ("/상태 뭐든", ActionKind.STATUS, ("", "")),
    ],
)
def test_lines_become_wishes(line, kind, fields):
    wish = parse(line)
    assert (wish.kind, (wish.name, wish.value)) == (kind, fields)


@pytest.mark.parametrize("line", ["/", "/무엇", "안녕", "/set안녕", "//help", ""])
def test_other_lines_do_not(line):
    assert parse(line) is None


async def test_settings_are_listed_and_a_file_is_saved_beside_older_ones(
    harness, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    inbox = RecordingInbox()
    view = SettingView("stream", "켜기", "기본값", "켜기 또는 끄기")
    inbox.result = ActionResult(True, "여기 있어요.", (view,), Attachment("../내 것.json", b"{}"))
    for line in ("/export", "/export", None):
        harness.keyboard.type(line)
    await asyncio.wait_for(harness.adapter.run(inbox), 5)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["내 것-1.json", "내 것.json"]
    assert "stream  켜기  [기본값; 켜기 또는 끄기]" in harness.output.getvalue()
    assert inbox.actions[0].direct


async def test_the_end_of_input_ends_it(harness):
    harness.keyboard.type(None)
    await asyncio.wait_for(harness.adapter.run(RecordingInbox()), 5)


async def test_control_characters_do_not_reach_the_terminal(harness):
    await harness.adapter.send(harness.key, Outgoing("위험\x1b[2J한 \x9b글\r"))
    assert "\x1b" not in harness.output.getvalue()
    assert "\x9b" not in harness.output.getvalue()
    assert "\r" not in harness.output.getvalue()


async def test_a_stream_is_printed_once(harness):
    id_ = await harness.adapter.send(harness.key, Outgoing("안녕", final=False, speaker="코코"))
    await harness.adapter.edit(harness.key, id_, Outgoing("안녕하세요", final=False))
    await harness.adapter.edit(harness.key, id_, Outgoing("안녕하세요!"))
    assert harness.output.getvalue() == "코코> 안녕하세요!\n"
