"""The commands as Discord registers them: one command with parts, and two menus of messages."""

from __future__ import annotations

from typing import Any

from kogpt_bot import COMMANDS, ActionKind, Argument, Words
from kogpt_bot_discord import words

# https://discord.com/developers/docs/interactions/application-commands
SLASH, MESSAGE_MENU = 1, 3
PART, STRING = 1, 3
EVERYWHERE = {"integration_types": [0, 1], "contexts": [0, 1, 2]}  # servers, people; all channels
MAX_TEXT = 2000  # of an option; the core has its own limit

CHAT, THREAD = words.CHAT.en, words.THREAD.en
ROOT, ANSWER_MENU, REPORT_MENU = words.ROOT.en, words.ANSWER_MENU.en, words.REPORT_MENU.en

# What is said with a command; the others are buttons and menus under an answer.
KINDS = (
    ActionKind.SETTINGS,
    ActionKind.SET,
    ActionKind.RESET,
    ActionKind.PERSONA,
    ActionKind.STOP,
    ActionKind.REGENERATE,
    ActionKind.STATUS,
    ActionKind.CLEAR,
    ActionKind.FORGET,
    ActionKind.OPT_OUT,
    ActionKind.OPT_IN,
    ActionKind.EXPORT,
    ActionKind.REPORT,
    ActionKind.HELP,
)
BY_NAME = {COMMANDS[kind].name.en: kind for kind in KINDS}


def registration() -> list[dict[str, Any]]:
    """Return all commands, in English with Korean beside it."""
    parts = [_chat(), *(_part(kind) for kind in KINDS), _thread()]
    slash = {
        "type": SLASH,
        **_named(words.ROOT),
        **_described(words.ROOT_DESCRIPTION),
        "options": parts,
        **EVERYWHERE,
    }
    menus = [
        {"type": MESSAGE_MENU, **_named(menu), **EVERYWHERE}
        for menu in (words.ANSWER_MENU, words.REPORT_MENU)
    ]
    return [slash, *menus]


def _part(kind: ActionKind) -> dict[str, Any]:
    command = COMMANDS[kind]
    options = [_argument(each) for each in command.arguments]
    return {
        "type": PART,
        **_named(command.name),
        **_described(command.description),
        "options": options,
    }


def _argument(argument: Argument) -> dict[str, Any]:
    option = {
        "type": STRING,
        **_named(argument.name),
        **_described(argument.description),
        "required": argument.required,
    }
    if argument.field == "level":
        option["choices"] = [
            {**_named(word), "value": level.value} for level, word in words.LEVELS.items()
        ]
    return option


def _chat() -> dict[str, Any]:
    option = {
        "type": STRING,
        **_named(words.MESSAGE),
        **_described(words.MESSAGE_DESCRIPTION),
        "required": True,
        "max_length": MAX_TEXT,
    }
    return {
        "type": PART,
        **_named(words.CHAT),
        **_described(words.CHAT_DESCRIPTION),
        "options": [option],
    }


def _thread() -> dict[str, Any]:
    option = {
        "type": STRING,
        **_named(words.THREAD_TITLE),
        **_described(words.THREAD_TITLE_DESCRIPTION),
        "max_length": 100,
    }
    return {
        "type": PART,
        **_named(words.THREAD),
        **_described(words.THREAD_DESCRIPTION),
        "options": [option],
    }


def _named(name: Words) -> dict[str, Any]:
    return {"name": name.en, "name_localizations": {"ko": name.ko}}


def _described(description: Words) -> dict[str, Any]:
    return {
        "description": description.en,
        "description_localizations": {"ko": description.ko},
    }
