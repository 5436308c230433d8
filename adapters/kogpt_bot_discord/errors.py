"""Discord's errors become ours, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp
import discord

from kogpt_bot import (
    BadCredentials,
    ConfigurationError,
    Forbidden,
    Gone,
    KogptBotError,
    Malformed,
    NotSent,
    RetryAfter,
    Unreachable,
)

INTENT_REMEDY = (
    "Discord refuses the message content intent; turn on Message Content Intent at "
    "https://discord.com/developers/applications, page Bot, or set "
    "adapters.discord.message_content: false (then only mentions, replies, direct messages and "
    "commands are heard)"
)
CREDENTIALS_REMEDY = (
    "Discord does not accept the token; make a new one at "
    "https://discord.com/developers/applications, page Bot, Reset Token"
)

# https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes
# After these codes the same connection would be refused again.
CLOSE_CODES: dict[int, KogptBotError] = {
    4004: BadCredentials(CREDENTIALS_REMEDY),
    4010: ConfigurationError(
        "Discord refuses the shard; adapters.discord.shard_ids must be below shard_count"
    ),
    4011: ConfigurationError(
        "Discord asks for more shards; leave out adapters.discord.shard_count, or raise it"
    ),
    4012: ConfigurationError(
        "Discord no longer serves this version of its gateway; upgrade: "
        "pip install -U 'kogpt-bot[discord]'"
    ),
    4013: ConfigurationError(
        "Discord does not know an intent that is asked for; upgrade: "
        "pip install -U 'kogpt-bot[discord]'"
    ),
    4014: ConfigurationError(INTENT_REMEDY),
}


def _closed(error: BaseException) -> KogptBotError:
    code = error.code if isinstance(error, discord.ConnectionClosed) else 0
    known = CLOSE_CODES.get(code)
    return type(known)(str(known)) if known else Unreachable(f"the gateway closed with {code}")


def _http(error: BaseException) -> KogptBotError:
    """Translate an answer that says no; the more special classes have gone before."""
    status = error.status if isinstance(error, discord.HTTPException) else 0
    if status == 401:
        return BadCredentials(CREDENTIALS_REMEDY)
    if status in (408, 425):
        return Unreachable(_reason(error))
    return Malformed(_reason(error))


def _limited(error: BaseException) -> KogptBotError:
    return RetryAfter(error.retry_after if isinstance(error, discord.RateLimited) else 1.0)


def _reason(error: BaseException) -> str:
    """Return the platform's reason in one line; for a form error, without what was sent."""
    if isinstance(error, discord.HTTPException):
        return f"{error.status} {error.text or 'no reason given'} ({error.code})".replace("\n", " ")
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def _as(kind: type[KogptBotError]) -> Callable[[BaseException], KogptBotError]:
    return lambda error: kind(_reason(error))


# From special to general: the first class that fits decides.
TABLE: tuple[tuple[type[BaseException], Callable[[BaseException], KogptBotError]], ...] = (
    (discord.RateLimited, _limited),
    (discord.Forbidden, _as(Forbidden)),
    (discord.NotFound, _as(Gone)),
    (discord.DiscordServerError, _as(Unreachable)),
    (discord.HTTPException, _http),
    (discord.LoginFailure, lambda _: BadCredentials(CREDENTIALS_REMEDY)),
    (discord.PrivilegedIntentsRequired, lambda _: ConfigurationError(INTENT_REMEDY)),
    (discord.ConnectionClosed, _closed),
    (discord.GatewayNotFound, _as(Unreachable)),
    (discord.DiscordException, _as(Malformed)),  # we used the library wrongly: not to be repeated
    (aiohttp.InvalidURL, _as(Malformed)),
    (aiohttp.ClientConnectorError, _as(NotSent)),  # no connection was had
    (aiohttp.ClientError, _as(Unreachable)),
    (TimeoutError, _as(Unreachable)),
    (OSError, _as(Unreachable)),
)
FOREIGN = tuple(kind for kind, _ in TABLE)


def translate(error: BaseException) -> KogptBotError:
    """Return our error for one of `FOREIGN`."""
    for kind, make in TABLE:
        if isinstance(error, kind):
            return make(error)
    raise TypeError(f"not an error of Discord's: {type(error).__name__}")


@contextmanager
def translated() -> Iterator[None]:
    """Raise ours instead of Discord's; the original is its cause, without secrets in it."""
    try:
        yield
    except FOREIGN as error:
        raise translate(error) from error
