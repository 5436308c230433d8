"""The commands: what is registered with Telegram, and what a person who types one wishes for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from telegram import (
    Bot,
    BotCommand,
    BotCommandScopeAllChatAdministrators,
    BotCommandScopeAllGroupChats,
    BotCommandScopeDefault,
    Message,
    MessageEntity,
    User,
)

from kogpt_bot import COMMANDS, ActionKind, Command, ScopeLevel
from kogpt_bot_telegram.heard import answered

# A finding of the profanity log is named by its button only; a message is answered by replying.
_BY_BUTTON = frozenset({ActionKind.HIT_RIGHT, ActionKind.HIT_WRONG})
LANGUAGES = ("", "ko", "en")  # "": for people whose language is neither

LEVELS: Mapping[str, ScopeLevel] = MappingProxyType(
    {
        "플랫폼": ScopeLevel.PLATFORM, "platform": ScopeLevel.PLATFORM,
        "서버": ScopeLevel.SERVER, "server": ScopeLevel.SERVER,
        "채널": ScopeLevel.CHANNEL, "channel": ScopeLevel.CHANNEL,
        "스레드": ScopeLevel.THREAD, "thread": ScopeLevel.THREAD,
        "주제": ScopeLevel.THREAD, "topic": ScopeLevel.THREAD,
    }
)  # fmt: skip


def typed_commands() -> Sequence[Command]:
    """Return the commands that people can type."""
    return [each for each in COMMANDS.values() if each.kind not in _BY_BUTTON]


_NAMES: Mapping[str, ActionKind] = MappingProxyType(
    {name: each.kind for each in typed_commands() for name in (each.name.en, each.name.ko)}
    | {"start": ActionKind.HELP}  # what Telegram's own button sends in a new chat
)


_HELP_LINE = re.compile(rf"^• ({'|'.join(map(re.escape, _NAMES))}): ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wish:
    """A command that somebody typed: `fields` are those of `Action`."""

    kind: ActionKind
    fields: Mapping[str, Any]


def wish_of(message: Message, me: User) -> Wish | None:
    """Return what a command asks for; None for a message that is no command."""
    name, rest = _command(message, me)
    if not name:
        return None
    kind = _NAMES.get(name)
    if kind is None:
        return None
    fields = _fields(kind, rest)
    past = answered(message)
    command = COMMANDS[kind]
    if past is not None and (command.needs_answer or kind is ActionKind.ANSWER):
        fields.setdefault("message_id", str(past.message_id))
    return Wish(kind, fields)


def is_foreign(message: Message, me: User) -> bool:
    """Whether a message is a command that is not ours: of another bot, or none that we know."""
    text = message.text or ""
    entity = _first_entity(message)
    if entity is None:
        return False
    name, _, addressee = text[1 : entity.length].partition("@")
    if addressee and addressee.casefold() != (me.username or "").casefold():
        return True
    return name.lower() not in _NAMES


def _command(message: Message, me: User) -> tuple[str, str]:
    """Return the command's name and what follows it; "" where there is none for this bot."""
    text = message.text or ""
    if not text.startswith("/"):
        return "", ""
    head, *tail = text[1:].split(maxsplit=1) or [""]
    name, _, addressee = head.partition("@")
    if addressee and addressee.casefold() != (me.username or "").casefold():
        return "", ""
    return name.lower(), tail[0].strip() if tail else ""


def _first_entity(message: Message) -> MessageEntity | None:
    """Return the command that Telegram sees at a message's beginning."""
    for entity in message.entities:
        if entity.type == MessageEntity.BOT_COMMAND and entity.offset == 0:
            return entity
    return None


def _fields(kind: ActionKind, rest: str) -> dict[str, Any]:
    """Return the fields of the action that a command's arguments are."""
    wanted = [argument.field for argument in COMMANDS[kind].arguments]
    fields: dict[str, Any] = {}
    words = rest.split()
    if "level" in wanted and len(words) >= len(wanted) and words[-1].lower() in LEVELS:
        fields["level"] = LEVELS[words.pop().lower()]
        rest = " ".join(words)
    elif kind is ActionKind.RESET and len(words) == 1 and words[0].lower() in LEVELS:
        return {"level": LEVELS[words[0].lower()]}  # everything of that level
    for field in (each for each in wanted if each != "level"):
        last = field == [each for each in wanted if each != "level"][-1]
        head, _, tail = (rest, "", "") if last else rest.partition(" ")
        if head.strip():
            fields[field] = head.strip()
        rest = tail.strip()
    return fields


def spelled(text: str) -> str:
    """Return the core's words with the commands in them as Telegram knows them, to be tapped.

    The core calls them by their names: at the beginning of a line of the help, and where it says
    how to come back.
    """
    text = _HELP_LINE.sub(lambda match: f"/{COMMANDS[_NAMES[match[1]]].name.en}: ", text)
    opt_in = COMMANDS[ActionKind.OPT_IN].name
    return re.sub(rf"(?<!/)\b{opt_in.en}\b|{opt_in.ko}", f"/{opt_in.en}", text)


async def register(bot: Bot, scope: Any, commands: Sequence[Command], language: str) -> None:
    """Register commands for one kind of chat in one language."""
    words = [BotCommand(each.name.en, each.description.of(language or "ko")) for each in commands]
    await bot.set_my_commands(words, scope=scope, language_code=language or None)


def menus() -> Sequence[tuple[Any, Sequence[Command]]]:
    """Return what is registered where: in groups, what managers alone can use is theirs to see."""
    everything = typed_commands()
    for_everybody = [each for each in everything if not each.managers]
    return (
        (BotCommandScopeDefault(), everything),
        (BotCommandScopeAllGroupChats(), for_everybody),
        (BotCommandScopeAllChatAdministrators(), everything),
    )
