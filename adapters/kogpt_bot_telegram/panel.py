"""The settings as a message with buttons: pages, one setting, its choices."""

from __future__ import annotations

from dataclasses import replace

from telegram import CallbackQuery, Message

from kogpt_bot import Action, ActionKind, ActionResult, Inbox, ScopeLevel
from kogpt_bot_telegram.buttons import (
    Choose,
    Close,
    Panel,
    Press,
    Reset,
    ShowPage,
    ShowSetting,
    setting_panel,
    settings_page,
)
from kogpt_bot_telegram.teller import Teller


class SettingsPanel:
    """Opens the panel and carries out its buttons; all of its state is in them."""

    def __init__(self, inbox: Inbox, teller: Teller) -> None:
        self._inbox = inbox
        self._teller = teller

    def open(self, message: Message, action: Action, result: ActionResult) -> None:
        """Show the first page as an answer to the command."""
        topic = bool(action.key.thread)
        self._teller.show(message, settings_page(result, ScopeLevel.CHANNEL, 0, topic=topic))

    async def press(self, query: CallbackQuery, press: Press, action: Action) -> None:
        """Carry out a button for who pressed it, with the rights that they have now."""
        if query.message is None:
            return
        chat, message_id = query.message.chat.id, query.message.message_id
        if isinstance(press, Close):
            self._teller.remove(chat, message_id)
            self._teller.acknowledge(query, "")
            return
        said = await self._change(press, action)
        found = await self._inbox.act(replace(action, kind=ActionKind.SETTINGS))
        panel = _panel(press, found, topic=bool(action.key.thread))
        if panel is not None:
            self._teller.edit(chat, message_id, panel)
        self._teller.acknowledge(query, said.text, alert=not said.done)

    async def _change(self, press: Press, action: Action) -> ActionResult:
        """Set or reset, where the button says so; the core decides whether the person may."""
        if isinstance(press, Reset):
            wish = replace(action, kind=ActionKind.RESET, name=press.name, level=press.level)
            return await self._inbox.act(wish)
        if isinstance(press, Choose):
            named = replace(action, kind=ActionKind.SET, name=press.name, level=press.level)
            return await self._inbox.act(replace(named, value=press.value))
        return ActionResult(True, "")


def _panel(press: Press, found: ActionResult, *, topic: bool) -> Panel | None:
    if not found.done:
        return None
    if isinstance(press, ShowPage):
        return settings_page(found, press.level, press.page, topic=topic)
    if isinstance(press, ShowSetting | Choose | Reset):
        return setting_panel(found, press.level, press.name)
    return None
