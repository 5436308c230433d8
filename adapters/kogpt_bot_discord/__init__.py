"""The Discord adapter: servers, threads, forum posts, direct messages, commands."""

from kogpt_bot import Adapter, AdapterPlugin
from kogpt_bot_discord.settings import DiscordSettings


def _create(settings: DiscordSettings) -> Adapter:
    from kogpt_bot_discord.adapter import DiscordAdapter  # discord.py is imported only here

    return DiscordAdapter(settings)


PLUGIN = AdapterPlugin("discord", DiscordSettings, _create, extra="discord")
