"""Telegram without a network: chats, messages, people who act, and the updates that come of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import telegram

from tests.fakes.telegram.entities import find_entities, utf16

TOKEN = "123456789:AAF-fake_token_that_must_not_be_logged"
BOT = {
    "id": 123456789, "is_bot": True, "first_name": "코코", "username": "koko_bot",
    "can_join_groups": True, "can_read_all_group_messages": False,
    "supports_inline_queries": False,
}  # fmt: skip
PERSON = {"id": 1001, "is_bot": False, "first_name": "민수", "language_code": "ko"}
OTHER = {"id": 1002, "is_bot": False, "first_name": "지은", "last_name": "김"}
ANONYMOUS = {
    "id": 1087968824,
    "is_bot": True,
    "first_name": "Group",
    "username": "GroupAnonymousBot",
}
DEFAULT_UPDATES = {  # what comes when allowed_updates says nothing
    "message", "edited_message", "channel_post", "edited_channel_post", "callback_query",
}  # fmt: skip


class ApiError(Exception):
    """The server says no."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


@dataclass
class Draft:
    """What a private chat shows while an answer is written."""

    chat: int
    draft_id: int
    text: str
    thread: int | None
    at: float


@dataclass
class Platform:
    """The state; `people` act through the methods, the bot through the server."""

    chats: dict[int, dict[str, Any]] = field(default_factory=dict)
    messages: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    updates: list[dict[str, Any]] = field(default_factory=list)
    admins: dict[int, set[int]] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)  # chats that the bot may not write to
    closed_topics: set[tuple[int, int]] = field(default_factory=set)
    migrated: dict[int, int] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    typed: list[tuple[int, int | None]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)  # to buttons
    files: list[dict[str, Any]] = field(default_factory=list)
    menus: list[dict[str, Any]] = field(default_factory=list)
    pings: list[tuple[int, str]] = field(default_factory=list)
    edits: list[tuple[int, int, str]] = field(default_factory=list)
    allowed: set[str] = field(default_factory=lambda: set(DEFAULT_UPDATES))
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._update_ids = itertools.count(5000)
        self.private(PERSON)

    # Places

    def private(self, user: dict[str, Any]) -> int:
        """Open a private chat; its id is the user's."""
        self.chats[user["id"]] = {
            "id": user["id"], "type": "private", "first_name": user["first_name"],
        }  # fmt: skip
        return user["id"]

    def group(self, chat_id: int = -100200300, *, type: str = "supergroup", **more: Any) -> int:
        """Open a group."""
        self.chats[chat_id] = {"id": chat_id, "type": type, "title": "우리 모임", **more}
        return chat_id

    # People

    def say(
        self,
        text: str | None,
        *,
        chat: int = PERSON["id"],
        user: dict[str, Any] | None = PERSON,
        thread: int | None = None,
        reply_to: int | None = None,
        kind: str = "message",
        entities: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Let somebody write; returns the message."""
        message = self._message(chat, user, thread, reply_to, **more)
        if text is not None:
            message["text"] = text
            found = find_entities(text) if entities is None else entities
            if found:
                message["entities"] = found
        self.tell(kind, message)
        return message

    def change(self, message: dict[str, Any], text: str, kind: str = "edited_message") -> None:
        """Let somebody edit their message."""
        message = {**message, "text": text, "edit_date": int(time.time())}
        message.pop("entities", None)
        if found := find_entities(text):
            message["entities"] = found
        self.messages[message["chat"]["id"]][message["message_id"]] = message
        self.tell(kind, message)

    def press(
        self, chat: int, message_id: int, label: str, user: dict[str, Any] = PERSON
    ) -> dict[str, Any]:
        """Let somebody press the button with this label (or its beginning)."""
        message = self.messages[chat][message_id]
        rows = message["reply_markup"]["inline_keyboard"]
        button = next(b for row in rows for b in row if b["text"].startswith(label))
        query = {
            "id": str(next(self._ids)), "from": user, "chat_instance": "1", "message": message,
            "data": button["callback_data"],
        }  # fmt: skip
        self.tell("callback_query", query)
        return query

    def react(
        self, chat: int, message_id: int, emoji: str | None, user: dict[str, Any] = PERSON,
        old: str | None = None,
    ) -> None:  # fmt: skip
        """Let somebody put a reaction under a message, in the place of an old one."""
        listed = lambda e: [{"type": "emoji", "emoji": e}] if e else []  # noqa: E731
        reaction = {
            "chat": self.chats[chat], "message_id": message_id, "user": user,
            "date": int(time.time()), "old_reaction": listed(old), "new_reaction": listed(emoji),
        }  # fmt: skip
        self.tell("message_reaction", reaction)

    def migrate(self, old: int, new: int) -> None:
        """Make a supergroup of a group."""
        self.group(new)
        self.migrated[old] = new
        self.tell("message", self._message(old, PERSON, None, None, migrate_to_chat_id=new))
        self.tell("message", self._message(new, PERSON, None, None, migrate_from_chat_id=old))

    def _message(
        self, chat: int, user: Any, thread: int | None, reply_to: int | None, **more: Any
    ) -> dict[str, Any]:
        message: dict[str, Any] = {
            "message_id": next(self._ids), "date": int(time.time()), "chat": self.chats[chat],
        }  # fmt: skip
        if user is not None:
            message["from"] = user
        if thread is not None:
            message |= {"message_thread_id": thread, "is_topic_message": True}
        if reply_to is not None:
            past = self.messages[chat][reply_to]
            message["reply_to_message"] = {k: v for k, v in past.items() if k != "reply_to_message"}
        message |= more
        self.messages.setdefault(chat, {})[message["message_id"]] = message
        return message

    def tell(self, kind: str, content: dict[str, Any]) -> None:
        """Let the bot know, if it asked for such updates."""
        update = {"update_id": next(self._update_ids), kind: content}
        parsed = telegram.Update.de_json(update, None)
        inner = getattr(parsed, kind)
        assert not parsed.api_kwargs, parsed.api_kwargs  # nothing that the Bot API does not have
        assert not inner.api_kwargs, inner.api_kwargs
        if kind in self.allowed:
            self.updates.append(update)
            self.changed.set()

    # What people see

    def shown(self, chat: int = PERSON["id"]) -> list[dict[str, Any]]:
        """Return the bot's messages in a chat, oldest first."""
        messages = self.messages.get(chat, {}).values()
        return [each for each in messages if each.get("from", {}).get("id") == BOT["id"]]

    def texts(self, chat: int = PERSON["id"]) -> list[str]:
        """Return the texts of the bot's messages as they look: without what is invisible."""
        return [visible(each.get("text", "")) for each in self.shown(chat)]

    # The bot, through the server

    def put(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send a message."""
        chat = self.reach(params)
        thread = int(params["message_thread_id"]) if "message_thread_id" in params else None
        if thread is not None and (chat, thread) in self.closed_topics:
            raise ApiError(400, "Bad Request: TOPIC_CLOSED")
        text = self.checked(params)
        reply = params.get("reply_parameters", {})
        past = reply.get("message_id")
        if past is not None and past not in self.messages.get(chat, {}):
            if not reply.get("allow_sending_without_reply"):
                raise ApiError(400, "Bad Request: message to be replied not found")
            past = None
        message = self._message(chat, BOT, thread, past)
        self._write(message, text, params)
        return message

    def rewrite(self, params: dict[str, Any]) -> dict[str, Any]:
        """Edit a message."""
        chat = self.reach(params)
        message = self.messages.get(chat, {}).get(int(params["message_id"]))
        if message is None:
            raise ApiError(400, "Bad Request: message to edit not found")
        if message.get("from", {}).get("id") != BOT["id"]:
            raise ApiError(400, "Bad Request: message can't be edited")
        text = self.checked(params)
        same = message.get("text") == text
        if same and message.get("reply_markup") == params.get("reply_markup"):
            raise ApiError(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        message["edit_date"] = int(time.time())
        self.edits.append((chat, message["message_id"], text))
        self._write(message, text, params)
        return message

    def _write(self, message: dict[str, Any], text: str, params: dict[str, Any]) -> None:
        message["text"] = text
        message.pop("entities", None)
        message.pop("reply_markup", None)
        if entities := find_entities(text):
            message["entities"] = entities
        if markup := params.get("reply_markup"):
            for button in (b for row in markup["inline_keyboard"] for b in row):
                if not 1 <= len(button["callback_data"].encode()) <= 64:
                    raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")
            message["reply_markup"] = markup
        self.notify(message["chat"]["id"], text)

    def notify(self, chat: int, text: str) -> None:
        """Tell everybody who is named in a text."""
        raw = text.encode("utf-16-le")
        for entity in find_entities(text):
            if entity["type"] == "mention":
                start = 2 * entity["offset"]
                name = raw[start : start + 2 * entity["length"]].decode("utf-16-le")
                self.pings.append((chat, name))

    def reach(self, params: dict[str, Any]) -> int:
        """Return the chat of a call, if the bot may write there."""
        chat = int(params["chat_id"])
        if chat in self.migrated:
            raise ApiError(
                400, "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=self.migrated[chat],
            )  # fmt: skip
        if chat not in self.chats:
            raise ApiError(400, "Bad Request: chat not found")
        if chat in self.blocked:
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        return chat

    @staticmethod
    def checked(params: dict[str, Any]) -> str:
        """Return the text of a call as the server keeps it."""
        assert "parse_mode" not in params, "no markup may take effect"
        text = params.get("text", "").strip()
        if not visible(text):
            raise ApiError(400, "Bad Request: message text is empty")
        if utf16(text) > 4096:
            raise ApiError(400, "Bad Request: message is too long")
        return text


def visible(text: str) -> str:
    """Return a text without the characters that have no width."""
    return text.translate(dict.fromkeys(map(ord, "\u2060\u200b\ufeff")))
