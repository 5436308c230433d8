"""Telegram's errors as the core knows them: one table, and what the texts of a 400 mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import httpx
from telegram import error as telegram

from kogpt_bot import (
    AdapterError,
    BadCredentials,
    Forbidden,
    Gone,
    Malformed,
    NotSent,
    RetryAfter,
    Secret,
    Unreachable,
)

FLOOD_WAIT_S = 5.0  # for a 429 that does not say how long

NOT_MODIFIED = "message is not modified"

# What the description of a 400 has in it, in small letters. Anything else is about the content.
_GONE = (
    "chat not found",
    "group chat was deactivated",
    "message can't be edited",
    "message identifier is not specified",
    "message thread not found",
    "message to be replied not found",
    "message to delete not found",
    "message to edit not found",
    "message_id_invalid",
    "peer_id_invalid",
    "topic_deleted",
    "topic_id_invalid",
    "user not found",
)
_FORBIDDEN = (
    "administrator rights",
    "bot was kicked",
    "chat_admin_required",
    "chat_guest_send_forbidden",
    "chat_restricted",
    "chat_send_",  # CHAT_SEND_PLAIN_FORBIDDEN and its sisters
    "chat_write_forbidden",
    "have no rights to send",
    "message can't be deleted",
    "not enough rights",
    "topic_closed",
    "user_is_blocked",
)


class Conflicting(Unreachable):
    """Somebody else takes this bot's updates: another poller, or a webhook."""


class Migrated(Gone):
    """The group became a supergroup; `chat` is its new id."""

    def __init__(self, chat: int) -> None:
        super().__init__(f"the group became the supergroup {chat}")
        self.chat = chat


class NothingNew(Malformed):
    """An edit that changes nothing."""


class UnknownMethod(Malformed):
    """404: an older Bot API server does not know the method; or, for getMe, the token is none."""


def translate(error: telegram.TelegramError, token: Secret) -> AdapterError:
    """Return our error for one of Telegram's. The token does not stand in it."""
    text = " ".join(str(error).replace(token.reveal(), "***").split())
    kind = next(kind for kind in type(error).__mro__ if kind in TABLE)
    return TABLE[kind](error, text)


def _flood_wait(error: telegram.TelegramError, text: str) -> AdapterError:
    wait: object = getattr(error, "retry_after", FLOOD_WAIT_S)
    if isinstance(wait, timedelta):
        wait = wait.total_seconds()
    return RetryAfter(float(wait) if isinstance(wait, int | float) else FLOOD_WAIT_S)


def _network(error: telegram.TelegramError, text: str) -> AdapterError:
    if "too many requests" in text.lower():  # of a proxy, which does not say how long
        return RetryAfter(FLOOD_WAIT_S)
    never_left = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    if isinstance(error.__cause__, never_left):
        return NotSent(f"Telegram cannot be reached: {text}")
    return Unreachable(f"Telegram: {text}")


def _bad_request(error: telegram.TelegramError, text: str) -> AdapterError:
    said = text.lower()
    if NOT_MODIFIED in said:
        return NothingNew(f"Telegram: {text}")
    if any(each in said for each in _GONE):
        return Gone(f"Telegram: {text}")
    if any(each in said for each in _FORBIDDEN):
        return Forbidden(f"Telegram: {text}")
    return Malformed(f"Telegram: {text}")


def _migrated(error: telegram.TelegramError, text: str) -> AdapterError:
    return Migrated(int(getattr(error, "new_chat_id", 0)))


def _token(error: telegram.TelegramError, text: str) -> AdapterError:
    if "not found" in text.lower():
        return UnknownMethod(f"Telegram: {text}")
    return bad_token(text)


def bad_token(why: object) -> BadCredentials:
    """Return the error for a token that is not taken."""
    return BadCredentials(
        f"Telegram does not take the token ({why}); correct it (adapters.telegram.token_env or "
        "token_file; @BotFather shows it under /mybots), or api_url where that is set"
    )


TABLE: Mapping[type[telegram.TelegramError], Callable[[telegram.TelegramError, str], AdapterError]]
TABLE = {
    telegram.TelegramError: lambda _, text: Unreachable(f"Telegram: {text}"),
    telegram.NetworkError: _network,
    telegram.TimedOut: _network,
    telegram.BadRequest: _bad_request,
    telegram.Forbidden: lambda _, text: Forbidden(f"Telegram: {text}"),
    telegram.InvalidToken: _token,
    telegram.EndPointNotFound: lambda _, text: Malformed(f"Telegram: {text}"),
    telegram.ChatMigrated: _migrated,
    telegram.RetryAfter: _flood_wait,
    telegram.Conflict: lambda _, text: Conflicting(f"Telegram: {text}"),
    telegram.PassportDecryptionError: lambda _, text: Malformed(f"Telegram: {text}"),
}
