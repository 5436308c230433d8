"""What the bot says, as the bodies that Discord takes."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from kogpt_bot import COMMANDS, ActionKind, Malformed, Outgoing
from kogpt_bot_discord.markup import MAX_LENGTH, escape

SUPPRESS_EMBEDS = 1 << 2
EPHEMERAL = 1 << 6
NOBODY = {"parse": [], "users": [], "roles": [], "replied_user": False}  # whom a message may ping
NONCE_LENGTH = 25  # Discord's limit
CUSTOM_ID_LENGTH = 100
ROW_LENGTH = 5  # buttons side by side
PREFIX = "kogpt"  # of every custom_id: they are the same after a restart

_BUTTON, _ROW = 2, 1  # https://discord.com/developers/docs/components/reference
_GREY, _RED = 2, 4
_STYLES = {ActionKind.STOP: _RED}


def content(message: Outgoing, language: str) -> dict[str, Any]:
    """Return the part of a body that sends and edits have in common."""
    if not message.text.strip() or len(message.text) > MAX_LENGTH:
        raise Malformed(f"a message has 1 to {MAX_LENGTH} characters that can be seen")
    return {
        "content": escape(message.text),
        "allowed_mentions": NOBODY,
        "flags": SUPPRESS_EMBEDS,
        "components": buttons(message, language),
    }


def new(message: Outgoing, language: str) -> dict[str, Any]:
    """Return the body of a message to send."""
    body = content(message, language)
    if message.reply_to.isdecimal():
        body["message_reference"] = {"message_id": message.reply_to, "fail_if_not_exists": False}
    if message.nonce:
        body |= {"nonce": nonce(message.nonce), "enforce_nonce": True}
    return body


def nonce(text: str) -> str:
    """Return the nonce, a digest of it where it is too long for Discord."""
    if len(text) <= NONCE_LENGTH:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=15).digest()
    return base64.b32encode(digest).decode()  # 24 characters


def buttons(message: Outgoing, language: str) -> list[dict[str, Any]]:
    """Return the rows of buttons under a message; one that cannot be named is left out."""
    each = [_button(kind, message.subject, language) for kind in message.offers]
    shown = [button for button in each if len(button["custom_id"]) <= CUSTOM_ID_LENGTH]
    return [
        {"type": _ROW, "components": shown[at : at + ROW_LENGTH]}
        for at in range(0, len(shown), ROW_LENGTH)
    ]


def _button(kind: ActionKind, subject: str, language: str) -> dict[str, Any]:
    words = COMMANDS.get(kind)
    button: dict[str, Any] = {
        "type": _BUTTON,
        "style": _STYLES.get(kind, _GREY),
        "custom_id": button_id(kind, subject),
        "label": words.label.of(language) if words else kind.value,
    }
    if words and words.emoji:
        button["emoji"] = {"name": words.emoji}
        if kind in (ActionKind.GOOD, ActionKind.BAD):
            del button["label"]  # the thumb says it
    return button


def button_id(kind: ActionKind, subject: str) -> str:
    """Return the custom_id of a button."""
    return f"{PREFIX}:do:{kind.value}:{subject}"


def read_button_id(custom_id: str) -> tuple[ActionKind, str] | None:
    """Return the action and the subject of a button of ours; None for any other."""
    prefix, _, rest = custom_id.partition(":do:")
    kind, _, subject = rest.partition(":")
    if prefix != PREFIX or kind not in set(ActionKind):
        return None
    return ActionKind(kind), subject
