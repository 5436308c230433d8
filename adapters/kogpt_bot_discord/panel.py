"""The panel of settings: menus and a modal; all that it knows stands in its custom_ids.

So it works after a restart too, and every press is checked again by the core.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kogpt_bot import COMMANDS, ActionKind, ScopeLevel, SettingView
from kogpt_bot_discord.payloads import PREFIX
from kogpt_bot_discord.words import LEVELS, Say

_ROW, _BUTTON, _SELECT = 1, 2, 3
_GREY = 2
MAX_OPTIONS = 25  # of one menu
MAX_MENUS = 4  # beside that of the levels
OPTION_LENGTH = 100

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Press:
    """What somebody did in the panel: `what` at which level, about which setting."""

    what: str  # level, pick, value, typed, reset, back
    level: ScopeLevel
    name: str = ""

    @property
    def custom_id(self) -> str:
        """The id that says it."""
        return f"{PREFIX}:{self.what}:{self.level.value}:{self.name}"


WHATS = ("level", "pick", "value", "typed", "reset", "back")


def read(custom_id: str) -> Press | None:
    """Return what a custom_id of the panel says; None for any other."""
    prefix, _, rest = custom_id.partition(":")
    what, _, rest = rest.partition(":")
    level, _, name = rest.partition(":")
    if prefix != PREFIX or what not in WHATS or level not in set(ScopeLevel):
        return None
    return Press(what, ScopeLevel(level), name)


def overview(
    views: Sequence[SettingView], level: ScopeLevel, levels: Iterable[ScopeLevel], language: str
) -> list[JSON]:
    """Return the menus of all settings, for changes at one of `levels`."""
    rows = [_levels(level, levels, language)]
    for page, at in enumerate(range(0, len(views), MAX_OPTIONS)):
        options = [_setting(view) for view in views[at : at + MAX_OPTIONS]]
        press = Press("pick", level, str(page))
        rows.append(_menu(press, Say.PICK.of(language), options))
    return rows[: 1 + MAX_MENUS]


def choices(view: SettingView, level: ScopeLevel, language: str) -> list[JSON]:
    """Return the menu of a setting's values, and the ways out."""
    options = [
        {"label": _short(choice), "value": _short(choice), "default": choice == view.value}
        for choice in view.choices[:MAX_OPTIONS]
    ]
    ways = [
        _button(Press("reset", level, view.name), Say.RESET.of(language)),
        _button(Press("back", level), Say.BACK.of(language)),
    ]
    menu = _menu(Press("value", level, view.name), Say.CHOOSE.of(language), options)
    return [menu, {"type": _ROW, "components": ways}]


def field(view: SettingView, language: str) -> JSON:
    """Return the field of the modal in which a value is typed."""
    found = {"style": 1, "label": Say.NEW_VALUE.of(language)[:45], "required": False}
    if view.allowed:
        found["placeholder"] = _short(view.allowed)
    if view.value:
        found["value"] = view.value[:4000]
    return found


def title(view: SettingView) -> str:
    """Return what stands above a setting's values."""
    return f"{view.name} = {view.value}\n{view.source}"


def listing(views: Sequence[SettingView]) -> str:
    """Return every setting with its value and where it comes from, a line each."""
    return "\n".join(f"{view.name} = {view.value}  ({view.source})" for view in views)


def report_field(language: str) -> JSON:
    """Return the field in which a person may say why."""
    return {
        "style": 2,
        "label": Say.REASON.of(language)[:45],
        "max_length": 1000,
        "required": False,
    }


def change_label(language: str) -> str:
    """Return the title of the modal."""
    return COMMANDS[ActionKind.SET].description.of(language)


def _levels(level: ScopeLevel, levels: Iterable[ScopeLevel], language: str) -> JSON:
    options = [
        {"label": LEVELS[each].of(language), "value": each.value, "default": each is level}
        for each in levels
    ]
    return _menu(Press("level", level), Say.LEVEL.of(language), options)


def _setting(view: SettingView) -> JSON:
    described = _short(f"{view.value} ({view.source})")
    return {"label": view.name[:OPTION_LENGTH], "value": view.name, "description": described}


def _menu(press: Press, placeholder: str, options: list[JSON]) -> JSON:
    menu = {
        "type": _SELECT,
        "custom_id": press.custom_id,
        "placeholder": placeholder,
        "options": options,
    }
    return {"type": _ROW, "components": [menu]}


def _button(press: Press, label: str) -> JSON:
    return {"type": _BUTTON, "style": _GREY, "custom_id": press.custom_id, "label": label}


def _short(text: str) -> str:
    return text if len(text) <= OPTION_LENGTH else f"{text[: OPTION_LENGTH - 1]}…"
