"""From Telegram's messages to the core's values: who said what, where, and to whom."""

from __future__ import annotations

from telegram import Chat, Message, MessageEntity, User

from kogpt_bot import Author, ChannelKey, Incoming
from kogpt_bot_telegram.describe import describe, forwarded

NAME = "telegram"
MAX_NAME = 64


def key_of(chat_id: int, thread_id: int | None = None) -> ChannelKey:
    """Return the key of a chat, or of a topic of it."""
    return ChannelKey(NAME, str(chat_id), thread=str(thread_id) if thread_id else "")


def place_of(message: Message) -> ChannelKey:
    """Return the key of the conversation that a message belongs to.

    Outside of topics `message_thread_id` only joins replies: it makes no conversation of its own.
    """
    thread = message.message_thread_id if message.is_topic_message else None
    return key_of(message.chat.id, thread)


def author_of(message: Message) -> Author | None:
    """Return who wrote a message; None where nobody did.

    A channel, and an administrator who stays anonymous, writes as a chat.
    """
    if (chat := message.sender_chat) is not None:
        return Author(str(chat.id), _name(message.author_signature or _title(chat)))
    if (user := message.from_user) is not None:
        return person(user)
    return None


def person(user: User) -> Author:
    """Return a user under the name that others see."""
    return Author(str(user.id), _name(user.full_name or user.username or ""), user.is_bot)


def _title(chat: Chat) -> str:
    return chat.title or chat.full_name or chat.username or ""


def _name(text: str) -> str:
    return " ".join(text.split())[:MAX_NAME] or "?"


def is_managing(message: Message) -> bool:
    """Whether a message is by an administrator who writes as the group or channel itself."""
    return message.sender_chat is not None and message.sender_chat.id == message.chat.id


def answered(message: Message) -> Message | None:
    """Return the message that this one answers.

    In a topic every message points to the topic's beginning: that is no answer.
    """
    past = message.reply_to_message
    if past is None or past.forum_topic_created is not None:
        return None
    return past


def incoming(message: Message, me: User) -> Incoming | None:
    """Return a message as the core takes it; None where nobody says anything."""
    author = author_of(message)
    text = spoken(message, me)
    if author is None or not text:
        return None
    past = answered(message)
    return Incoming(
        key=place_of(message),
        message_id=str(message.message_id),
        author=author,
        text=text,
        sent_at=message.date,
        direct=message.chat.type == Chat.PRIVATE,
        mentions_bot=any(_is_me(message, entity, me) for entity in _entities(message)),
        replies_to_bot=past is not None and past.from_user is not None and past.from_user == me,
        reply_to=str(past.message_id) if past is not None else "",
    )


def spoken(message: Message, me: User) -> str:
    """Return the text as people see it, what is no text described, the bot called by its name."""
    text = message.text or message.caption or ""
    raw = text.encode("utf-16-le", "surrogatepass")
    for entity in sorted(_entities(message), key=lambda each: each.offset, reverse=True):
        if entity.type == MessageEntity.MENTION and _is_me(message, entity, me):
            start, end = 2 * entity.offset, 2 * (entity.offset + entity.length)
            raw = raw[:start] + me.first_name.encode("utf-16-le", "surrogatepass") + raw[end:]
    text = raw.decode("utf-16-le", "replace")
    return " ".join(part for part in (forwarded(message), describe(message), text) if part)


def _entities(message: Message) -> tuple[MessageEntity, ...]:
    return message.entities or message.caption_entities


def _is_me(message: Message, entity: MessageEntity, me: User) -> bool:
    if entity.type == MessageEntity.TEXT_MENTION:
        return entity.user is not None and entity.user.id == me.id
    if entity.type not in (MessageEntity.MENTION, MessageEntity.BOT_COMMAND) or not me.username:
        return False
    raw = (message.text or message.caption or "").encode("utf-16-le", "surrogatepass")
    said = raw[2 * entity.offset : 2 * (entity.offset + entity.length)]
    _, _, name = said.decode("utf-16-le", "replace").partition("@")
    return name.casefold() == me.username.casefold()
