"""What `kogpt-bot doctor` finds out about Telegram: the token, and how Telegram sees the bot."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from telegram import User, WebhookInfo

from kogpt_bot import (
    AdapterError,
    BadCredentials,
    ConfigurationError,
    Finding,
    RetryAfter,
    Secret,
)
from kogpt_bot_telegram.api import Api
from kogpt_bot_telegram.settings import TelegramSettings, WebhookSettings

TOKEN = re.compile(r"[0-9]{6,}:[A-Za-z0-9_-]{30,}")
PATIENCE_S = 10.0


def diagnose(settings: TelegramSettings, *, online: bool) -> Sequence[Finding]:
    """Return what is found; with `online`, Telegram is asked as well."""
    try:
        token = settings.token()
    except ConfigurationError as error:
        finding, _, remedy = str(error).partition("; ")
        return [Finding("token", finding, remedy or "correct it")]
    if not TOKEN.fullmatch(token.reveal()):
        remedy = "copy it from @BotFather once more: /mybots, the bot, API Token"
        return [Finding("token", "has not the form NUMBER:LETTERS of a bot's token", remedy)]
    found = [Finding("token", f"{token}, of the right form")]
    if settings.webhook.url is not None:
        found += _webhook(settings.webhook)
    if online:
        found += asyncio.run(_ask(settings, token))
    return found


def _webhook(webhook: WebhookSettings) -> list[Finding]:
    found = []
    if urlsplit(webhook.url or "").scheme != "https":
        remedy = "set an https address, of a reverse proxy before this bot"
        found.append(Finding("webhook url", f"{webhook.url}: Telegram calls https alone", remedy))
    where = f"{webhook.host}:{webhook.port}{webhook.route}"
    try:
        webhook.secret()
        family = socket.AF_INET6 if ":" in webhook.host else socket.AF_INET
        socket.create_server((webhook.host, webhook.port), family=family).close()
    except ConfigurationError as error:
        found.append(Finding("webhook secret", str(error), "correct it, or leave it out"))
    except OSError as error:
        remedy = "end what uses it (this bot already runs?), or set another webhook.port"
        found.append(Finding("webhook port", f"{where}: {error.strerror}", remedy, serious=False))
    else:
        found.append(Finding("webhook port", f"{where} is free"))
    return found


async def _ask(settings: TelegramSettings, token: Secret) -> list[Finding]:
    """Ask Telegram who the bot is, and how it fares with its webhook."""
    api = Api(token, settings.api_url)
    try:
        me = await api.me(PATIENCE_S)
        async with api.calling(PATIENCE_S) as bot:
            info = await bot.get_webhook_info()
    except BadCredentials as error:
        finding, _, remedy = str(error).partition("; ")
        return [Finding("telegram", finding, remedy)]
    except RetryAfter as error:
        remedy = f"ask again in {error.seconds:g} s"
        return [Finding("telegram", "wants no calls just now", remedy, serious=False)]
    except AdapterError as error:
        remedy = "see whether this machine reaches the internet, and adapters.telegram.api_url"
        return [Finding("telegram", str(error), remedy)]
    finally:
        await api.close()
    return [_who(me), *_how(settings.webhook, info)]


def _who(me: User) -> Finding:
    reads = (
        "every message"
        if me.can_read_all_group_messages
        else ("mentions, replies and commands (privacy mode)")
    )
    return Finding("telegram", f"the bot is @{me.username}; in groups it hears {reads}")


def _how(webhook: WebhookSettings, info: WebhookInfo) -> list[Finding]:
    host = urlsplit(info.url).hostname if info.url else None
    waiting = f"{info.pending_update_count} waiting"
    if webhook.url is None:
        if host is None:
            return [Finding("updates", f"no webhook is in the way of polling, {waiting}")]
        remedy = "nothing, if nobody uses it: the start removes it; else give this bot a token"
        return [Finding("updates", f"a webhook at {host} is set, {waiting}", remedy, serious=False)]
    if info.last_error_message:
        remedy = "see that the reverse proxy hands webhook.url on to webhook.host and port"
        finding = f"Telegram could not call the webhook: {info.last_error_message}, {waiting}"
        return [Finding("updates", finding, remedy, serious=False)]
    return [Finding("updates", f"the webhook at {host} is set, {waiting}" if host else waiting)]
