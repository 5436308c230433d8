"""Whether somebody manages a chat: Telegram is asked each time the answer matters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from telegram import Bot, Chat, User
from telegram.constants import ChatMemberStatus

from kogpt_bot import ActionKind, AdapterError

log = structlog.get_logger(__name__)

# What people do for themselves; Telegram need not be asked about them.
_FOR_EVERYBODY = frozenset(
    {
        ActionKind.GOOD, ActionKind.BAD, ActionKind.REPORT, ActionKind.ANSWER,
        ActionKind.FORGET, ActionKind.OPT_OUT, ActionKind.OPT_IN, ActionKind.EXPORT,
        ActionKind.STATUS, ActionKind.SETTINGS,
    }
)  # fmt: skip
_MANAGERS = frozenset({ChatMemberStatus.OWNER.value, ChatMemberStatus.ADMINISTRATOR.value})


class Rights:
    """Asks Telegram; where it does not say, nobody is a manager."""

    def __init__(self, standing: Callable[[int, int], Awaitable[str]]) -> None:
        self._standing = standing

    async def manages(self, kind: ActionKind, chat: Chat, user: User | None) -> bool:
        """Whether the user may manage the chat, where that matters for this kind of wish."""
        if chat.type == Chat.PRIVATE:
            return True
        if user is None or kind in _FOR_EVERYBODY:
            return False
        try:
            return await self._standing(chat.id, user.id) in _MANAGERS
        except AdapterError as error:
            log.warning("rights_unknown", why=str(error))
            return False


async def standing(bot: Bot, chat: int, user: int) -> str:
    """Return the status of a chat's member, also where a server gives no more than that."""
    try:
        return (await bot.get_chat_member(chat, user)).status
    except (KeyError, TypeError):  # the library wants all that the newest Bot API has
        query = f"chat_id={chat}&user_id={user}"
        found = await bot.request.post(f"{bot.base_url}/getChatMember?{query}")
        return str(found["status"]) if isinstance(found, dict) else ""
