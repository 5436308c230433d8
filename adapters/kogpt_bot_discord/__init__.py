"""The Discord adapter: servers, threads, forum posts, direct messages, commands."""

from collections.abc import Sequence

from kogpt_bot import Adapter, AdapterPlugin, Finding
from kogpt_bot_discord.settings import DiscordSettings


def _create(settings: DiscordSettings) -> Adapter:
    from kogpt_bot_discord.adapter import DiscordAdapter  # discord.py is imported only here

    return DiscordAdapter(settings)


def _diagnose(settings: DiscordSettings, online: bool) -> Sequence[Finding]:
    from kogpt_bot_discord.diagnosis import diagnose

    return diagnose(settings, online=online)


PLUGIN = AdapterPlugin("discord", DiscordSettings, _create, extra="discord", diagnose=_diagnose)
