"""A burst of messages: how fast they are recorded, and what that does to the event loop.

    python -m benchmarks.delivery [--messages 1000] [--channels 100] [--rounds 5] [--url URL]

The peer is the same inbox with a transaction for each message. Both take turns in one process;
each round has a database of its own on the same disk.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import secrets
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

from kogpt_bot.config import Limits
from kogpt_bot.errors import Refused
from kogpt_bot.messages import Author, ChannelKey, Incoming
from kogpt_bot.store import Store, recording
from kogpt_bot.store.database import sqlite_url
from tests.fakes.core import Core, ScriptedModel

TICK_S = 0.005
READ = 50  # messages that a platform's socket gives at once
LIMITS = Limits(messages_per_minute=1000, burst_window_s=0)


@dataclass(frozen=True, slots=True)
class Round:
    """One burst: all recorded after `seconds`; the rest in milliseconds and bytes."""

    seconds: float
    accept_p99_ms: float
    lag_p99_ms: float
    grown_bytes: int


async def burst(url: str, messages: int, channels: int) -> Round:
    """Deliver all messages at once; answers are owed, and none is finished meanwhile."""
    store = await Store.open(url)
    model = ScriptedModel()
    model.hold = asyncio.Event()
    core = Core(store, model, limits=LIMITS)
    tag = secrets.token_hex(4)  # a database may hold the messages of earlier rounds
    await take(core, f"{tag} warm", 0, [])  # connections and queries, as in a daemon that runs
    known = sum((await store.turn_states()).values())
    process = psutil.Process()
    before = process.memory_info().rss
    lags: list[float] = []
    watching = asyncio.create_task(watch(lags))
    waits: list[float] = []
    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(messages):
            tasks.create_task(take(core, f"{tag} {number}", number % channels, waits))
            if number % READ == READ - 1:
                await asyncio.sleep(0)
    seconds = time.perf_counter() - started
    watching.cancel()
    grown = process.memory_info().rss - before
    states = await store.turn_states()
    if sum(states.values()) != known + messages:
        raise RuntimeError(f"not every message was recorded: {states}")
    await core.lanes.close(0)
    await store.close()
    return Round(seconds, p99(waits) * 1e3, p99(lags) * 1e3, grown)


async def take(core: Core, id_: str, channel: int, waits: list[float]) -> None:
    """Deliver one message of a person of its own."""
    key, now = ChannelKey("fake", f"c{channel}"), core.clock.now()
    message = Incoming(key, id_, Author(id_, "민수"), "오늘 뭐 먹을까?", now, direct=True)
    started = time.perf_counter()
    with suppress(Refused):  # a full lane says so; the message is recorded all the same
        await core.inbox.accept(message)
    waits.append(time.perf_counter() - started)


async def watch(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        lags.append(time.perf_counter() - due)


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0


def show(name: str, rounds: list[Round]) -> None:
    def median(field: str) -> float:
        return statistics.median(getattr(each, field) for each in rounds)

    print(
        f"{name:28} {median('seconds'):7.3f} s   accept p99 {median('accept_p99_ms'):7.1f} ms   "
        f"loop lag p99 {median('lag_p99_ms'):6.1f} ms   "
        f"memory +{max(each.grown_bytes for each in rounds) / 2**20:.1f} MiB at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", default="", help="a PostgreSQL database for this; else SQLite")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sizes = {"one transaction each": 1, "50 a transaction": recording.GROUP}
    rounds: dict[str, list[Round]] = {name: [] for name in sizes}
    with tempfile.TemporaryDirectory(prefix="kogpt-bench-") as folder:
        for number in range(given.rounds):
            for name, size in sizes.items():
                recording.GROUP = size
                url = given.url or sqlite_url(Path(folder) / f"{number}-{size}.sqlite3")
                rounds[name].append(asyncio.run(burst(url, given.messages, given.channels)))
    print(
        f"{given.messages} messages over {given.channels} channels; {given.rounds} rounds, medians"
    )
    for name, found in rounds.items():
        show(name, found)
    each, group = (statistics.median(r.seconds for r in found) for found in rounds.values())
    print(f"group commit is {each / group:.1f} times as fast")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {psutil.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
