"""The Telegram adapter: private chats, groups, topics and channels, by polling or a webhook."""

from collections.abc import Sequence

from kogpt_bot import Adapter, AdapterPlugin, Finding
from kogpt_bot_telegram.settings import TelegramSettings


def _create(settings: TelegramSettings) -> Adapter:
    from kogpt_bot_telegram.adapter import TelegramAdapter

    return TelegramAdapter(settings)


def _diagnose(settings: TelegramSettings, online: bool) -> Sequence[Finding]:
    from kogpt_bot_telegram.diagnosis import diagnose

    return diagnose(settings, online=online)


PLUGIN = AdapterPlugin("telegram", TelegramSettings, _create, extra="telegram", diagnose=_diagnose)
