"""Keeping one shard's connection: resume, identify anew, back off, give up where it is final."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import aiohttp
import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket, ReconnectWebSocket

from kogpt_bot_discord.errors import CLOSE_CODES

if TYPE_CHECKING:
    from kogpt_bot_discord.client import DiscordClient

log = structlog.get_logger(__name__)

HANDSHAKE_S = 60.0  # from connecting to IDENTIFY or RESUME, waiting one's turn not counted
GOODBYE_S = 0.5  # for the other side to say goodbye too
NEW_SESSION_CODES = (4007, 4009)  # the session is over: a wrong sequence, timed out


@dataclass(frozen=True, slots=True)
class Pacing:
    """How a lost connection is tried again; tests use shorter times."""

    first_s: float = 1.0
    cap_s: float = 60.0  # people notice a bot that stays away for longer
    stable_s: float = 10.0  # a connection that held so long clears the count
    identify_s: float = 5.0  # between two IDENTIFY of one bucket, as Discord asks

    def delay(self, failures: int, draw: float) -> float:
        """Return the pause after so many failures in a row; the first try is at once.

        `draw` is uniform in [0, 1), so that many shards do not come back in one moment.
        """
        if failures <= 1:
            return 0.0
        top = min(self.cap_s, self.first_s * 2.0 ** min(failures - 2, 30))
        return top * (0.5 + draw / 2)


class IdentifyGate:
    """Lets shards identify in turn: one per bucket of `concurrency` every few seconds."""

    def __init__(self, pacing: Pacing, monotonic: Callable[[], float]) -> None:
        self.concurrency = 1
        self._pacing = pacing
        self._monotonic = monotonic
        self._last: dict[int, float] = {}

    async def wait(self, shard_id: int) -> None:
        """Return when the shard may identify."""
        bucket = shard_id % self.concurrency
        now = self._monotonic()
        turn = max(now, self._last.get(bucket, -1e9) + self._pacing.identify_s)
        self._last[bucket] = turn
        await asyncio.sleep(turn - now)


@dataclass(slots=True)
class _Session:
    """What is needed to resume."""

    id: str
    sequence: int
    gateway: yarl.URL


class Shard:
    """One shard; `run` keeps it connected for as long as that can work."""

    def __init__(self, client: DiscordClient, id_: int, draw: Callable[[], float]) -> None:
        self._client = client
        self._id = id_
        self._draw = draw
        self._session: _Session | None = None
        self._failures = 0

    async def run(self) -> NoReturn:
        """Stay connected; raises what cannot get better by trying again."""
        while True:
            began = self._client.monotonic()
            why = await self._connect_and_listen()
            was_up = self._client.shard_lost(self._id)
            pacing = self._client.pacing
            held = was_up and self._client.monotonic() - began >= pacing.stable_s
            self._failures = 1 if held else self._failures + 1
            pause = pacing.delay(self._failures, self._draw())
            event = "discord_shard_reconnects"
            log.info(event, shard=self._id, why=why, in_s=round(pause, 1), resume=self._resumes)
            await asyncio.sleep(pause)

    @property
    def _resumes(self) -> bool:
        return self._session is not None

    async def _connect_and_listen(self) -> str:
        """Return why the connection ended, where another may do better."""
        ws: DiscordWebSocket | None = None
        try:
            ws = await self._connect()
            while True:
                await self._hear(ws)
        except ReconnectWebSocket as error:
            self._keep_session(ws, resume=error.resume)
            return "asked to" if error.resume else "session is over"
        except discord.ConnectionClosed as error:
            if error.code in CLOSE_CODES:
                raise
            self._keep_session(ws, resume=True)
            return f"closed with {error.code}"
        except (OSError, aiohttp.ClientError) as error:  # TimeoutError is an OSError
            self._keep_session(ws, resume=True)
            return type(error).__name__
        finally:
            await self._hang_up(ws)

    async def _connect(self) -> DiscordWebSocket:
        session = self._session
        options: dict[str, Any] = {}
        if session is not None:
            options = {
                "session": session.id,
                "sequence": session.sequence,
                "gateway": session.gateway,
                "resume": True,
            }
        async with asyncio.timeout(HANDSHAKE_S + self._client.gate_wait_s):
            return await DiscordWebSocket.from_client(self._client, shard_id=self._id, **options)

    async def _hear(self, ws: DiscordWebSocket) -> None:
        """Take one event; one that cannot be read is left out, the connection goes on."""
        try:
            await ws.poll_event()
        except (
            ReconnectWebSocket,
            discord.ConnectionClosed,
            OSError,
            aiohttp.ClientError,
        ):
            raise
        except Exception as error:  # noqa: BLE001  # discord.py's parsers raise what they like
            # Without the traceback: its values would bring what people said into the log.
            where = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__} in {where.name}, line {where.lineno}"
            log.warning("discord_event_unreadable", shard=self._id, why=why)

    def _keep_session(self, ws: DiscordWebSocket | None, *, resume: bool) -> None:
        if not resume:
            self._session = None
        elif ws is not None:
            code = ws._close_code or ws.socket.close_code
            over = code in NEW_SESSION_CODES
            if over or ws.session_id is None or ws.sequence is None:
                self._session = None
            else:
                self._session = _Session(ws.session_id, ws.sequence, ws.gateway)

    async def _hang_up(self, ws: DiscordWebSocket | None) -> None:
        """Close what is open, without waiting for the other side for long."""
        socket = self._client.rest.sockets.pop(asyncio.current_task(), None)
        try:
            async with asyncio.timeout(GOODBYE_S):
                if ws is not None:
                    await ws.close(4000)  # a code that leaves the session to be resumed
                elif socket is not None:
                    await socket.close()
        except (OSError, aiohttp.ClientError, RuntimeError):
            pass  # it is gone already
