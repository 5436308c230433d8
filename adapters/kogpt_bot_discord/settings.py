"""What the owner can set about Discord."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from annotated_types import Interval

from kogpt_bot import ConfigurationError, Secret, read_secret

API_URL = "https://discord.com/api/v10"
AUTO_ARCHIVE_MINUTES = (60, 1440, 4320, 10080)  # what Discord takes


@dataclass(frozen=True, slots=True)
class Places:
    """Ids on one side of an allow or block list; a thread is also known by its channel's id."""

    servers: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for id_ in (*self.servers, *self.channels, *self.roles, *self.users):
            if not (id_.isascii() and id_.isdecimal()):
                raise ValueError(f"{id_!r} is no Discord id: a number of 17 to 20 digits")


@dataclass(frozen=True, slots=True)
class DiscordSettings:
    """The section `adapters.discord`.

    `api_url` and `gateway_url` point elsewhere where a proxy stands before Discord. With
    `gateway_url`, every gateway connection goes there, also where Discord names another host.
    `language` is of the buttons, which everybody in a channel sees; commands are in each person's.
    """

    token_env: str | None = None
    token_file: str | None = None
    api_url: str = API_URL
    gateway_url: str | None = None
    message_content: bool = True
    shard_count: Annotated[int, Interval(ge=1, le=10_000)] | None = None
    shard_ids: tuple[Annotated[int, Interval(ge=0, le=9_999)], ...] = ()
    commands: bool = True
    direct_messages: bool = True
    thread_archive_minutes: int = 1440
    language: Literal["ko", "en"] = "ko"
    allow: Places = Places()
    block: Places = Places()

    def __post_init__(self) -> None:
        _check_url("api_url", self.api_url, ("https", "http"))
        if self.gateway_url is not None:
            _check_url("gateway_url", self.gateway_url, ("wss", "ws"))
        if self.shard_ids and self.shard_count is None:
            raise ValueError("shard_ids needs shard_count: of how many shards these are")
        if any(id_ >= (self.shard_count or 0) for id_ in self.shard_ids):
            raise ValueError("shard_ids are below shard_count")
        if self.thread_archive_minutes not in AUTO_ARCHIVE_MINUTES:
            allowed = ", ".join(map(str, AUTO_ARCHIVE_MINUTES))
            raise ValueError(f"thread_archive_minutes is one of {allowed}")

    def token(self) -> Secret:
        """Return the bot's token; ConfigurationError where none is named."""
        token = read_secret("adapters.discord.token", self.token_env, self.token_file)
        if token is None:
            raise ConfigurationError(
                "adapters.discord: no token is named; set token_env: DISCORD_TOKEN (or token_file)"
            )
        return token


def _check_url(key: str, url: str, schemes: tuple[str, ...]) -> None:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"{key} starts with {' or '.join(f'{s}://' for s in schemes)} and a host")
    if parts.query or parts.fragment or parts.username:
        raise ValueError(f"{key} is a plain address, without user, ? or #")
