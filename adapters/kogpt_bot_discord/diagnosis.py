"""What `kogpt-bot doctor` finds out about Discord: the token, the intent, and the invitation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import httpx

from kogpt_bot import ConfigurationError, Finding, Secret
from kogpt_bot_discord.settings import DiscordSettings

PATIENCE_S = 10.0
PORTAL = "https://discord.com/developers/applications"
# View Channels, Send Messages (in Threads), Create Public Threads, Read Message History.
PERMISSIONS = 1 << 10 | 1 << 11 | 1 << 16 | 1 << 35 | 1 << 38
INVITE = f"https://discord.com/oauth2/authorize?scope=bot+applications.commands&permissions={PERMISSIONS}"
# Three parts: the bot's id, a time, a signature.
TOKEN = re.compile(r"[A-Za-z0-9_-]{18,40}\.[A-Za-z0-9_-]{5,10}\.[A-Za-z0-9_-]{20,64}")
# https://discord.com/developers/docs/resources/application#application-object-application-flags
MESSAGE_CONTENT = 1 << 18 | 1 << 19  # allowed; allowed while the bot is in few servers


def diagnose(settings: DiscordSettings, *, online: bool) -> Sequence[Finding]:
    """Return what is found; with `online`, Discord is asked as well."""
    try:
        token = settings.token()
    except ConfigurationError as error:
        finding, _, remedy = str(error).partition("; ")
        return [Finding("token", finding, remedy or "correct it")]
    if not TOKEN.fullmatch(token.reveal()):
        remedy = (
            f"copy it from {PORTAL}, page Bot, Reset Token; neither the application's id nor its "
            "public key, and without `Bot `"
        )
        finding = "does not look like a bot's token: three parts with dots between them"
        return [Finding("token", finding, remedy, serious=False)]
    found = [Finding("token", f"{token}, of the right form")]
    if online:
        found += _ask(settings, token)
    return found


def _ask(settings: DiscordSettings, token: Secret) -> Iterator[Finding]:
    headers = {"Authorization": f"Bot {token.reveal()}", "User-Agent": "DiscordBot (kogpt-bot, 1)"}
    base = settings.api_url.rstrip("/")
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=PATIENCE_S) as client:
            me = client.get("/users/@me")
            if me.status_code != httpx.codes.OK:
                yield _refused(base, me.status_code)
                return
            yield Finding("login", f"Discord knows the bot as {me.json().get('username', '?')}")
            application = client.get("/applications/@me")
            if application.status_code == httpx.codes.OK:
                about = application.json()
                yield _intent(int(about.get("flags") or 0), wanted=settings.message_content)
                yield Finding("invite", f"{INVITE}&client_id={about.get('id', '?')}")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        remedy = "check the network, or correct adapters.discord.api_url"
        yield Finding("login", f"{base}: {type(error).__name__}", remedy)


def _refused(base: str, status: int) -> Finding:
    if status == httpx.codes.UNAUTHORIZED:
        remedy = f"make a new one at {PORTAL}, page Bot, Reset Token"
        return Finding("login", "Discord does not accept the token", remedy)
    remedy = "try again later" if status >= 429 else "correct adapters.discord.api_url"
    return Finding("login", f"{base} answers with status {status}", remedy, serious=False)


def _intent(flags: int, *, wanted: bool) -> Finding:
    name = "message content"
    if flags & MESSAGE_CONTENT:
        return Finding(name, "the intent is on")
    if not wanted:
        return Finding(name, "the intent is off, and not wanted")
    return Finding(
        name,
        "the intent is off: Discord will refuse the connection",
        f"turn on Message Content Intent at {PORTAL}, page Bot, or set "
        "adapters.discord.message_content: false",
    )
