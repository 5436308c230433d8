"""The way to Telegram's Bot API: the library's bot, its connections, and its errors in ours."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx
import structlog
from telegram import Bot, Update, User
from telegram.error import TelegramError
from telegram.request import HTTPXRequest

from kogpt_bot import Secret, Unreachable
from kogpt_bot_telegram.errors import UnknownMethod, bad_token, translate
from kogpt_bot_telegram.parsing import Received, parse

log = structlog.get_logger(__name__)

CONNECT_S = 5.0
ANSWER_S = 15.0  # until the first byte, and between two
CALL_S = 30.0  # a whole call: a server that trickles must not hold an answer for ever
POLL_MARGIN_S = 10.0  # a long poll is answered so much after its time at the latest
CONNECTIONS = 64  # calls at a time

ALLOWED_UPDATES = (
    Update.MESSAGE,
    Update.EDITED_MESSAGE,
    Update.CHANNEL_POST,
    Update.EDITED_CHANNEL_POST,
    Update.CALLBACK_QUERY,
    Update.MESSAGE_REACTION,
)


class _PollRequest(HTTPXRequest):
    """Keeps the last answer, to find the one update among it that cannot be parsed."""

    __slots__ = ("payload",)

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Make the request."""
        code, self.payload = await super().do_request(*args, **kwargs)
        return code, self.payload


class Api:
    """One bot's connections; `close` them."""

    def __init__(self, token: Secret, api_url: str) -> None:
        os.environ.setdefault("PTB_TIMEDELTA", "true")  # the library's coming way to give times
        silence_libraries()
        self._token = token
        self._calls = HTTPXRequest(
            connection_pool_size=CONNECTIONS,
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            write_timeout=ANSWER_S,
            pool_timeout=CONNECT_S,
            httpx_kwargs={"verify": _trust()},
        )
        self._polls = _PollRequest(
            connection_pool_size=1,
            connect_timeout=CONNECT_S,
            read_timeout=POLL_MARGIN_S,  # the library adds the poll's own time
            write_timeout=ANSWER_S,
            pool_timeout=CONNECT_S,
            httpx_kwargs={"verify": _trust()},
        )
        self.bot = Bot(
            token.reveal(),
            base_url=f"{api_url.rstrip('/')}/bot",
            request=self._calls,
            get_updates_request=self._polls,
        )

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(self._calls.shutdown(), self._polls.shutdown())

    async def reconnect_polls(self) -> None:
        """Give up the polling connection, which may be dead without saying so."""
        await self._polls.shutdown()
        await self._polls.initialize()

    @asynccontextmanager
    async def calling(self, timeout_s: float = CALL_S) -> AsyncIterator[Bot]:
        """Give the bot for one call, whose errors come out as ours."""
        try:
            async with asyncio.timeout(timeout_s):
                yield self.bot
        except TimeoutError:
            raise Unreachable(f"Telegram does not answer within {timeout_s:g} s") from None
        except (KeyError, TypeError, ValueError) as error:  # whatever the library stumbles over
            log.error("answer_not_understood", why=repr(error)[:200])  # noqa: TRY400
            raise Unreachable(f"Telegram's answer is not understood: {error!r:.200}") from None
        except TelegramError as error:  # its text may have the token in it: nothing is chained
            raise translate(error, self._token) from None

    async def me(self, timeout_s: float = CALL_S) -> User:
        """Return who the bot is; BadCredentials where the token is not taken."""
        try:
            async with self.calling(timeout_s) as bot:
                return await bot.get_me()
        except UnknownMethod as error:  # so it is called for a token that is malformed
            raise bad_token(error) from None

    async def updates(self, offset: int | None, timeout_s: int, limit: int) -> Sequence[Received]:
        """Return what happened from `offset` on, waiting for something to happen."""
        async with self.calling(timeout_s + 1.5 * POLL_MARGIN_S) as bot:
            try:
                found = await bot.get_updates(
                    offset=offset,
                    limit=limit,
                    timeout=timeout_s,
                    allowed_updates=ALLOWED_UPDATES,
                )
            except (TelegramError, TimeoutError):
                raise
            except Exception as error:  # noqa: BLE001  # whatever a parser stumbles over
                log.debug("updates_not_parsed", why=type(error).__name__)
                return self._one_by_one()
        return [Received(update.update_id, update) for update in found]

    def _one_by_one(self) -> list[Received]:
        """Parse the last answer again, update by update: one bad one must not hold up the rest."""
        return [self.parse(raw) for raw in json.loads(self._polls.payload)["result"]]

    def parse(self, raw: dict[str, Any]) -> Received:
        """Return an update from its JSON; KeyError or TypeError for what is none at all."""
        return parse(raw, self.bot)


@cache
def _trust() -> ssl.SSLContext:
    """Return whose certificates are believed; reading them takes long enough to do it once."""
    return httpx.create_ssl_context()


def silence_libraries() -> None:
    """Keep the libraries' own logs out of ours.

    httpx and httpcore log each URL, and the token stands in it; python-telegram-bot logs what
    people wrote. What goes wrong, we log ourselves.
    """
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("telegram").setLevel(logging.CRITICAL + 1)
