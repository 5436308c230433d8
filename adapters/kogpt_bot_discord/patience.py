"""Calls of our own, which may wait: to fetch what was missed, to register the commands.

What the core asks for is tried once, and the core decides what then.
"""

from __future__ import annotations

import asyncio
from typing import Any

from discord.http import Route

from kogpt_bot import RetryAfter, Unreachable
from kogpt_bot_discord.errors import translated
from kogpt_bot_discord.rest import OneAttemptHTTP

ATTEMPTS = 5
BACKOFF_FIRST_S = 0.5
LONGEST_WAIT_S = 60.0


async def patiently(rest: OneAttemptHTTP, route: Route, **options: Any) -> Any:
    """Make a call until it is answered or plainly refused; raises the AdapterError of the last."""
    for attempt in range(1, ATTEMPTS):
        try:
            with translated():
                return await rest.request(route, **options)
        except RetryAfter as error:
            await asyncio.sleep(min(error.seconds, LONGEST_WAIT_S))
        except Unreachable:
            await asyncio.sleep(BACKOFF_FIRST_S * 2 ** (attempt - 1))
    with translated():
        return await rest.request(route, **options)
