"""What to do with an update: a message to the inbox, a command or a button to an action."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from telegram import (
    CallbackQuery,
    Chat,
    Message,
    MessageReactionUpdated,
    ReactionType,
    ReactionTypeEmoji,
    Update,
    User,
)
from telegram.constants import ReactionEmoji

from kogpt_bot import Action, ActionKind, Author, ChannelKey, Inbox, Refused
from kogpt_bot_telegram.buttons import Choose, Offer, Reset, decode
from kogpt_bot_telegram.commands import Wish, is_foreign, wish_of
from kogpt_bot_telegram.heard import (
    author_of,
    incoming,
    is_managing,
    key_of,
    person,
    place_of,
)
from kogpt_bot_telegram.panel import SettingsPanel
from kogpt_bot_telegram.rights import Rights
from kogpt_bot_telegram.teller import Teller

log = structlog.get_logger(__name__)

REACTIONS = {
    ReactionEmoji.THUMBS_UP.value: ActionKind.GOOD,
    ReactionEmoji.THUMBS_DOWN.value: ActionKind.BAD,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a handler works with, besides the inbox."""

    me: User
    rights: Rights
    teller: Teller
    thread_of: Callable[[int, int], int | None]  # the topic of a message of ours, if we know it
    migrated: Callable[[int, int], None]


class Handler:
    """Takes updates one by one; what it raises, the update is not taken."""

    def __init__(self, inbox: Inbox, around: Surroundings) -> None:
        self._inbox = inbox
        self._around = around
        self._panel = SettingsPanel(inbox, around.teller)

    async def handle(self, update: Update) -> None:
        """Take an update; StoreError where it could not be stored."""
        routes: tuple[tuple[Any, Callable[[Any], Awaitable[None]]], ...] = (
            (update.message, self._message),
            (update.channel_post, self._message),
            (update.edited_message, self._edited),
            (update.edited_channel_post, self._edited),
            (update.callback_query, self._pressed),
            (update.message_reaction, self._reacted),
        )
        for content, take in routes:
            if content is not None:
                await take(content)
                return

    async def _message(self, message: Message) -> None:
        me = self._around.me
        if message.migrate_to_chat_id is not None:
            self._around.migrated(message.chat.id, message.migrate_to_chat_id)
            return
        if (wish := wish_of(message, me)) is not None:
            await self._wished(message, wish)
            return
        if is_foreign(message, me):
            if message.chat.type == Chat.PRIVATE:  # it can only be meant for us
                await self._wished(message, Wish(ActionKind.HELP, {}))
            return
        heard = incoming(message, me)
        if heard is None or heard.author.id == str(me.id):
            return
        try:
            await self._inbox.accept(heard)
        except Refused as refusal:
            self._around.teller.answer(message, refusal.text)

    async def _edited(self, message: Message) -> None:
        heard = incoming(message, self._around.me)
        if heard is not None and wish_of(message, self._around.me) is None:
            await self._inbox.amend(heard)

    async def _wished(self, message: Message, wish: Wish) -> None:
        """Carry out a typed command and answer it."""
        author = author_of(message)
        if author is None:
            return
        chat = message.chat
        manager = is_managing(message) or await self._around.rights.manages(
            wish.kind, chat, message.from_user
        )
        action = _action(wish.kind, place_of(message), author, chat, manager, **wish.fields)
        result = await self._inbox.act(action)
        teller = self._around.teller
        if result.attachment is not None:
            teller.hand_over(message, result)
        elif result.done and wish.kind is ActionKind.SETTINGS:
            self._panel.open(message, action, result)
        else:
            teller.answer(message, result.text)

    async def _pressed(self, query: CallbackQuery) -> None:
        """Carry out a button; its answer is seen by who pressed it alone."""
        press = decode(query.data or "")
        if query.message is None or press is None:
            self._around.teller.acknowledge(query, "")
            return
        chat, message_id = query.message.chat, query.message.message_id
        if isinstance(query.message, Message) and query.message.date.timestamp() > 0:
            key = place_of(query.message)
        else:  # too old: Telegram gives no more of it than its id
            key = key_of(chat.id, self._around.thread_of(chat.id, message_id))
        changes = ActionKind.SET if isinstance(press, Choose | Reset) else ActionKind.SETTINGS
        kind = press.kind if isinstance(press, Offer) else changes
        manager = await self._around.rights.manages(kind, chat, query.from_user)
        action = _action(
            kind, key, person(query.from_user), chat, manager, message_id=str(message_id)
        )
        if not isinstance(press, Offer):
            await self._panel.press(query, press, action)
            return
        result = await self._inbox.act(replace(action, subject=press.subject))
        self._around.teller.acknowledge(query, result.text, alert=not result.done)

    async def _reacted(self, reaction: MessageReactionUpdated) -> None:
        """Take a thumb that was put up or down as feedback; taking it back says nothing."""
        added = [e for e in _emoji(reaction.new_reaction) if e not in _emoji(reaction.old_reaction)]
        kind = next((REACTIONS[each] for each in added if each in REACTIONS), None)
        if kind is None:
            return
        author = _reactor(reaction)
        if author is None:
            return
        chat, message_id = reaction.chat, reaction.message_id
        key = key_of(chat.id, self._around.thread_of(chat.id, message_id))
        await self._inbox.act(_action(kind, key, author, chat, False, message_id=str(message_id)))


def _emoji(reactions: Sequence[ReactionType]) -> list[str]:
    return [each.emoji for each in reactions if isinstance(each, ReactionTypeEmoji)]


def _reactor(reaction: MessageReactionUpdated) -> Author | None:
    if reaction.user is not None:
        return person(reaction.user)
    chat = reaction.actor_chat
    return Author(str(chat.id), chat.title or "?") if chat is not None else None


def _action(
    kind: ActionKind, key: ChannelKey, author: Author, chat: Chat, manager: bool, **fields: Any
) -> Action:
    direct = chat.type == Chat.PRIVATE
    at = datetime.now(UTC)
    return Action(kind, key, author, at, manager=manager, direct=direct, **fields)
