"""A Discord message becomes plain text, as people see it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import discord

from kogpt_bot import Author, ChannelKey, Incoming

_TOKEN = re.compile(
    r"<(?:@!?(?P<user>\d{15,21})|@&(?P<role>\d{15,21})|#(?P<channel>\d{15,21})"
    r"|a?:(?P<emoji>\w{1,32}):\d{15,21}|/(?P<command>[^:<>\n]{1,100}):\d{15,21}"
    r"|t:(?P<time>-?\d{1,13})(?::[tTdDfFR])?)>"
)
MAX_EMBED = 300  # characters of what a link or another bot shows besides its text


def incoming(message: discord.Message, key: ChannelKey, me: discord.ClientUser) -> Incoming | None:
    """Return the message as the core takes it; None for what nobody said (somebody joined, say).

    `key` is the address of its channel, `me` the bot itself.
    """
    if message.is_system() or message.type is discord.MessageType.thread_starter_message:
        return None
    text = text_of(message)
    if not text:
        return None  # without the message content intent, what is not for the bot is empty
    reference = message.reference
    answered = reference.resolved if reference is not None else None
    to_bot = isinstance(answered, discord.Message) and answered.author.id == me.id
    reply_to = ""
    if message.type is discord.MessageType.reply and reference is not None:
        reply_to = str(reference.message_id or "")
    return Incoming(
        key=key,
        message_id=str(message.id),
        author=author_of(message),
        text=text,
        sent_at=message.created_at,
        direct=not key.guild,
        mentions_bot=mentions(message, me),
        replies_to_bot=(bool(reply_to) and to_bot) or in_thread_of(message, me),
        reply_to=reply_to,
    )


def author_of(message: discord.Message) -> Author:
    """Return who wrote; a webhook is a bot whatever it calls itself."""
    author = message.author
    is_bot = author.bot or message.webhook_id is not None
    return Author(str(author.id), author.display_name, is_bot)


def mentions(message: discord.Message, me: discord.ClientUser) -> bool:
    """Return whether the bot was mentioned, by its name or by the role that is its own."""
    if any(user.id == me.id for user in message.mentions):
        return True
    return any(
        role.tags is not None and role.tags.bot_id == me.id for role in message.role_mentions
    )


def in_thread_of(message: discord.Message, me: discord.ClientUser) -> bool:
    """Return whether it was said in a thread that the bot opened: it is said to the bot then."""
    channel = message.channel
    return isinstance(channel, discord.Thread) and channel.owner_id == me.id


def text_of(message: discord.Message) -> str:
    """Return what people see of a message, pictures and the like as a word in brackets."""
    parts = [*_post_title(message), names(message.content, message), *_besides(message)]
    for snapshot in message.message_snapshots:
        said = [snapshot.content, *_things(snapshot.attachments, snapshot.stickers)]
        parts.append(f"[전달: {' '.join(part for part in said if part)}]")
    return "\n".join(part for part in parts if part.strip()).strip()


def _post_title(message: discord.Message) -> Iterator[str]:
    """Give the title of a forum post before its first message."""
    channel = message.channel
    if isinstance(channel, discord.Thread) and channel.id == message.id:
        yield f"[글 제목: {channel.name}]"


def _besides(message: discord.Message) -> Iterator[str]:
    yield from _things(message.attachments, message.stickers)
    if message.poll is not None:
        yield _poll(message.poll)
    if not message.content:  # else they only show what a link in it leads to
        yield from filter(None, map(_embed, message.embeds))


def _things(
    attachments: Iterable[discord.Attachment], stickers: Iterable[discord.StickerItem]
) -> Iterator[str]:
    yield from map(_attachment, attachments)
    for sticker in stickers:
        yield f"[스티커: {sticker.name}]"


def _attachment(attachment: discord.Attachment) -> str:
    kind = (attachment.content_type or "").partition("/")[0]
    if attachment.is_voice_message():
        return "[음성 메시지]"
    words = {"image": "사진", "video": "동영상", "audio": "소리"}
    if kind not in words:
        return f"[파일: {attachment.filename}]"
    return (
        f"[{words[kind]}: {attachment.description}]"
        if attachment.description
        else (f"[{words[kind]}]")
    )


def _poll(poll: discord.Poll) -> str:
    answers = " / ".join(answer.text or str(answer.emoji or "") for answer in poll.answers)
    return f"[투표: {poll.question} ({answers})]" if answers else f"[투표: {poll.question}]"


def _embed(embed: discord.Embed) -> str:
    said = " ".join(part for part in (embed.title, embed.description) if part)
    return f"[카드: {said[:MAX_EMBED]}]" if said else ""


def names(text: str, message: discord.Message) -> str:
    """Return `text` with names in place of what Discord writes as numbers."""
    users: dict[int, Any] = {user.id: user for user in message.mentions}
    guild = message.guild

    def name(found: re.Match[str]) -> str:
        if id_ := found["user"]:
            user = users.get(int(id_))
            return f"@{user.display_name}" if user is not None else found[0]
        if id_ := found["role"]:
            role = guild.get_role(int(id_)) if guild is not None else None
            return f"@{role.name}" if role is not None else found[0]
        if id_ := found["channel"]:
            channel = guild.get_channel_or_thread(int(id_)) if guild is not None else None
            return f"#{channel.name}" if channel is not None else found[0]
        if emoji := found["emoji"]:
            return f":{emoji}:"
        if command := found["command"]:
            return f"/{command}"
        return _time(int(found["time"])) or found[0]

    return _TOKEN.sub(name, text)


def _time(seconds: int) -> str:
    """Return a moment in words; everybody sees it in their own zone, so the zone is named."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return ""
