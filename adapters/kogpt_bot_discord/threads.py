"""Opening a thread for somebody, as a conversation of its own."""

from __future__ import annotations

import discord
import structlog
from discord.http import Route

from kogpt_bot import AdapterError, Forbidden
from kogpt_bot_discord.client import DiscordClient
from kogpt_bot_discord.errors import translated
from kogpt_bot_discord.wish import Wish
from kogpt_bot_discord.words import Say

log = structlog.get_logger(__name__)

NEWS_THREAD, PUBLIC_THREAD = 10, 11
NAME_LENGTH = 100


async def open_thread(client: DiscordClient, wish: Wish, title: str) -> None:
    """Open a public thread in the channel, with the person in it, and tell where it is."""
    reply, language = wish.reply, wish.language
    channel = wish.interaction.channel
    if not (wish.member and isinstance(channel, discord.TextChannel)):
        await reply.tell(Say.NO_THREAD_HERE.of(language))
        return
    await reply.announce()
    name = title.strip() or Say.THREAD_NAME.of(language).format(name=wish.author.name)
    body = {
        "name": name[:NAME_LENGTH],
        "type": NEWS_THREAD if channel.is_news() else PUBLIC_THREAD,
        "auto_archive_duration": client.settings.thread_archive_minutes,
    }
    channel_id = int(wish.key.channel)
    route = Route("POST", "/channels/{channel_id}/threads", channel_id=channel_id)
    try:
        with translated():
            thread = await client.rest.request(route, json=body)
    except Forbidden:
        await reply.tell(Say.MAY_NOT_THREAD.of(language))
        return
    await _add(client, int(thread["id"]), wish.author.id)
    await reply.tell(f"{Say.THREAD.of(language)} <#{thread['id']}>", marked_up=True)


async def _add(client: DiscordClient, thread_id: int, user_id: str) -> None:
    """Put the person into the thread, so that they see it; they can also come by themselves."""
    route = Route(
        "PUT",
        "/channels/{channel_id}/thread-members/{user_id}",
        channel_id=thread_id,
        user_id=user_id,
    )
    try:
        with translated():
            await client.rest.request(route)
    except AdapterError as error:
        log.info("discord_thread_member_not_added", why=str(error))
