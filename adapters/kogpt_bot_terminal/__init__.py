"""The terminal adapter: `kogpt-bot chat`."""

from kogpt_bot import Adapter, AdapterPlugin
from kogpt_bot_terminal.settings import TerminalSettings


def _create(settings: TerminalSettings) -> Adapter:
    from kogpt_bot_terminal.adapter import TerminalAdapter
    from kogpt_bot_terminal.lines import standard_input

    return TerminalAdapter(settings, standard_input())


PLUGIN = AdapterPlugin("terminal", TerminalSettings, _create)
