"""The section adapters.discord."""

import pytest

from kogpt_bot import config
from kogpt_bot.errors import ConfigurationError
from kogpt_bot_discord.settings import DiscordSettings


@pytest.fixture
def section(tmp_path):
    def load(text):
        path = tmp_path / "c.yaml"
        path.write_text(f"adapters:\n  discord: {text}\n", encoding="utf-8")
        return config.load(path).adapters["discord"]

    return load


def test_a_token_is_enough(section, monkeypatch):
    settings = section("{token_env: DISCORD_TOKEN}")
    assert settings == DiscordSettings(token_env="DISCORD_TOKEN")
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    assert settings.token().reveal() == "t"
    assert "t" not in repr(settings.token())


def test_without_a_token_it_says_what_to_set(section):
    with pytest.raises(ConfigurationError, match="set token_env: DISCORD_TOKEN"):
        section("{}").token()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{api_url: 'ftp://x'}", "api_url starts with https:// or http://"),
        ("{api_url: 'https://u:p@h/'}", "without user"),
        ("{gateway_url: 'https://x'}", "gateway_url starts with wss:// or ws://"),
        ("{shard_ids: [0]}", "shard_ids needs shard_count"),
        ("{shard_ids: [4], shard_count: 4}", "below shard_count"),
        ("{thread_archive_minutes: 5}", "60, 1440, 4320, 10080"),
        ("{block: {users: [민수]}}", "is no Discord id"),
        ("{language: fr}", "ko"),
        ("{shard_count: 0}", "from 1"),
        ("{token: t}", "token_env or token_file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(section, text, words):
    with pytest.raises(ConfigurationError) as error:
        section(text)
    (line,) = str(error.value).splitlines()
    assert words in line


def test_the_plug_in_is_light():
    import subprocess
    import sys

    code = (
        "import sys; import kogpt_bot_discord;"
        "sys.exit(any(m == 'discord' or m == 'aiohttp' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
