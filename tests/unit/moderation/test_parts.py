"""The moderation of one daemon, put together by its settings."""

import asyncio
import stat

import pytest

from kogpt_bot.config import ModerationSettings, Settings
from kogpt_bot.conversation.settings import Language
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import ChannelKey
from kogpt_bot.metrics import Metrics
from kogpt_bot.moderation.parts import build
from kogpt_bot.pseudonym import KEY_FILE, Pseudonyms
from kogpt_bot.store.profanity_values import Direction, Outcome
from tests.fakes.clock import FakeClock

ROOM = ChannelKey("fake", "room")


@pytest.fixture
def made(store, tmp_path):
    """Return a builder of the parts for a section, which keeps what they announce."""
    announced = []

    def make(**chosen):
        settings = Settings(data_dir=tmp_path, moderation=ModerationSettings(**chosen))
        metrics = Metrics()
        parts = build(
            settings, store.profanity, FakeClock(), metrics,
            lambda *sent: announced.append(sent), lambda _: Language.EN,
        )  # fmt: skip
        return parts, metrics, announced

    return make


async def test_a_hit_is_counted_written_and_told(made, tmp_path, detector):
    parts, metrics, announced = made(log_file="hits.jsonl", notify="fake/-/mods/-")
    running = asyncio.create_task(parts.run())
    await parts.log.said(
        Direction.INCOMING, ROOM, "u", "씨발", detector.find("씨발"),
        policy="log", outcome=Outcome.SHOWN, message="1",
    )  # fmt: skip
    async with asyncio.timeout(5):
        while not announced:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    await parts.close()
    assert (tmp_path / "hits.jsonl").read_text().count("\n") == 1
    labels = {"adapter": "fake", "direction": "incoming", "outcome": "shown"}
    assert metrics.registry.get_sample_value("kogpt_bot_profanity_hits_total", labels) == 1
    ((key, message),) = announced
    assert key == ChannelKey("fake", "mods")
    assert message.text.startswith("Profanity was found: 씨○")


async def test_without_more_there_is_only_the_table(made):
    parts, _, _ = made()
    assert (parts.channel, parts.file) == (None, None)
    await parts.close()


async def test_a_folder_that_is_missing_is_said_at_the_start(made):
    with pytest.raises(ConfigurationError, match=r"moderation\.log_file: there is no folder"):
        made(log_file="no/such/hits.jsonl")


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    folder = tmp_path / "new"
    first, second = Pseudonyms.load(folder), Pseudonyms.load(folder)
    assert first.person("discord", "1") == second.person("discord", "1")
    assert first.person("discord", "1") != first.person("telegram", "1")
    assert first.person("a", "bc") != first.person("ab", "c")
    assert first.text("a") != first.person("a", "")
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == [KEY_FILE]
    other = Pseudonyms.load(tmp_path / "other")
    assert other.person("discord", "1") != first.person("discord", "1")


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_broken_key_is_said(tmp_path, content):
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(ConfigurationError, match=KEY_FILE):
        Pseudonyms.load(tmp_path)
