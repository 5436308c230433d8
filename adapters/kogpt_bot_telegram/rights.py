"""Whether somebody manages a chat: Telegram is asked each time the answer matters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from telegram import Chat, ChatMember, User
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

    def __init__(self, member: Callable[[int, int], Awaitable[ChatMember]]) -> None:
        self._member = member

    async def manages(self, kind: ActionKind, chat: Chat, user: User | None) -> bool:
        """Whether the user may manage the chat, where that matters for this kind of wish."""
        if chat.type == Chat.PRIVATE:
            return True
        if user is None or kind in _FOR_EVERYBODY:
            return False
        try:
            member = await self._member(chat.id, user.id)
        except AdapterError as error:
            log.warning("rights_unknown", why=str(error))
            return False
        return member.status in _MANAGERS
