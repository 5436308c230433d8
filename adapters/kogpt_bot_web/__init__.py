"""The web adapter: a chat page with rooms and several named speakers."""

from kogpt_bot import Adapter, AdapterPlugin
from kogpt_bot_web.settings import WebSettings


def _create(settings: WebSettings) -> Adapter:
    from kogpt_bot_web.adapter import WebAdapter

    return WebAdapter(settings)


PLUGIN = AdapterPlugin("web", WebSettings, _create, enabled_by_default=True)
