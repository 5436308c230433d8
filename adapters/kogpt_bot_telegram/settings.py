"""What the owner can set about Telegram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from annotated_types import Interval, MinLen

from kogpt_bot import ConfigurationError, Secret, read_secret

API_URL = "https://api.telegram.org"
SECRET_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
MAX_SECRET = 256  # characters, as Telegram takes it


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The section `adapters.telegram.webhook`: with a `url`, Telegram calls us.

    `host`, `port` and `path` are where we listen, behind a reverse proxy that speaks TLS; without
    a `path`, it is that of the `url`. Without a secret of the owner's, one is made at each start.
    """

    url: str | None = None
    host: Annotated[str, MinLen(1)] = "127.0.0.1"
    port: Annotated[int, Interval(ge=0, le=65535)] = 8082  # 0: any free port
    path: str | None = None
    secret_env: str | None = None
    secret_file: str | None = None

    def __post_init__(self) -> None:
        if self.url is not None:
            _check_url("webhook.url", self.url)
        if self.path is not None and not self.path.startswith("/"):
            raise ValueError("webhook.path begins with /")

    @property
    def route(self) -> str:
        """The path that we answer on."""
        return self.path or urlsplit(self.url or "").path or "/"

    def secret(self) -> Secret | None:
        """Return the owner's secret; ConfigurationError for one that Telegram does not take."""
        key = "adapters.telegram.webhook.secret"
        secret = read_secret(key, self.secret_env, self.secret_file)
        if secret is not None:
            value = secret.reveal()
            if len(value) > MAX_SECRET or not SECRET_CHARACTERS.issuperset(value):
                raise ConfigurationError(
                    f"{key}: is not allowed; allowed: 1 to {MAX_SECRET} letters, digits, _ and -"
                )
        return secret


@dataclass(frozen=True, slots=True)
class TelegramSettings:
    """The section `adapters.telegram`.

    `api_url` points elsewhere for a Bot API server of one's own. `poll_timeout_s` is how long
    Telegram holds a call that has nothing to tell yet. `drafts`: whether answers in private chats
    grow as drafts, which leaves no "edited" mark. `commands`: whether the commands are registered,
    so that people see them when they type `/`.
    """

    token_env: str | None = None
    token_file: str | None = None
    api_url: str = API_URL
    poll_timeout_s: Annotated[int, Interval(ge=1, le=50)] = 25
    drafts: bool = True
    commands: bool = True
    webhook: WebhookSettings = WebhookSettings()

    def __post_init__(self) -> None:
        _check_url("api_url", self.api_url)

    def token(self) -> Secret:
        """Return the bot's token; ConfigurationError where none is named."""
        token = read_secret("adapters.telegram.token", self.token_env, self.token_file)
        if token is None:
            raise ConfigurationError(
                "adapters.telegram: no token is named; set token_env: TELEGRAM_BOT_TOKEN "
                "(or token_file), with the token that @BotFather gave you in it"
            )
        return token


def _check_url(key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise ValueError(f"{key} begins with https:// or http:// and a host")
    if parts.username or parts.query or parts.fragment or "{" in url:
        raise ValueError(f"{key} is a plain address, without user, ?, # or {{")
