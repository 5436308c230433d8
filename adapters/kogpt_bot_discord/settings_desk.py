"""Carrying out what is chosen in the panel of settings."""

from __future__ import annotations

from kogpt_bot import ActionKind, ActionResult, Inbox, ScopeLevel
from kogpt_bot_discord import panel
from kogpt_bot_discord.wish import Wish, levels


class SettingsDesk:
    """Answers presses in the panel, each checked by the core."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def components(self, wish: Wish, result: ActionResult) -> list[panel.JSON] | None:
        """Return the panel under the list of settings, for who may change them."""
        if not (wish.direct or wish.action(ActionKind.SET).manager):
            return None
        first, all_ = levels(wish)
        return panel.overview(result.settings, first, all_, wish.language)

    async def press(self, wish: Wish, press: panel.Press) -> None:
        """Carry out what was chosen in the panel of settings."""
        value = str(next(iter(wish.data.get("values") or ()), ""))
        if press.what == "pick":
            await self._open(wish, panel.Press(press.what, press.level, value))
        elif press.what == "value":
            await self.change(wish, press, ActionKind.SET, value)
        elif press.what == "reset":
            await self.change(wish, press, ActionKind.RESET, "")
        else:
            level = press.level
            if press.what == "level" and value in set(ScopeLevel):
                level = ScopeLevel(value)
            result = await self._settings(wish)
            await self._show(wish, result, level, result.text)

    async def _settings(self, wish: Wish) -> ActionResult:
        return await self._inbox.act(wish.action(ActionKind.SETTINGS))

    async def _open(self, wish: Wish, press: panel.Press) -> None:
        """Let one setting be changed: by a menu where its values are few, else by a modal."""
        result = await self._settings(wish)
        view = next((each for each in result.settings if each.name == press.name), None)
        if view is None:
            await wish.reply.tell(result.text)
        elif view.choices:
            rows = panel.choices(view, press.level, wish.language)
            await wish.reply.update(panel.title(view), rows)
        else:
            id_ = panel.Press("typed", press.level, view.name).custom_id
            await wish.reply.ask(id_, view.name, panel.field(view, wish.language))

    async def change(self, wish: Wish, press: panel.Press, kind: ActionKind, value: str) -> None:
        """Set or reset a setting, and show what came of it."""
        action = wish.action(kind, name=press.name, value=value, level=press.level)
        changed = await self._inbox.act(action)
        await self._show(wish, await self._settings(wish), press.level, changed.text)

    async def _show(self, wish: Wish, settings: ActionResult, level: ScopeLevel, text: str) -> None:
        if not settings.settings:
            await wish.reply.tell(text)
            return
        _, all_ = levels(wish)
        rows = panel.overview(settings.settings, level, all_, wish.language)
        await wish.reply.update(text, rows)
