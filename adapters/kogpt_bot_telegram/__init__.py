"""The Telegram adapter: private chats, groups, topics and channels, by polling or a webhook."""

from kogpt_bot import Adapter, AdapterPlugin
from kogpt_bot_telegram.settings import TelegramSettings


def _create(settings: TelegramSettings) -> Adapter:
    from kogpt_bot_telegram.adapter import TelegramAdapter

    return TelegramAdapter(settings)


PLUGIN = AdapterPlugin("telegram", TelegramSettings, _create, extra="telegram")
