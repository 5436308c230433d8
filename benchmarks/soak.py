"""A soak: the daemon under a steady load with reconnects; memory, tasks and descriptors after it.

    python -m benchmarks.soak --minutes 30

The daemon is a real `kogpt-bot run` in a process of its own. The platform and the model are fakes
in this one: what is measured is the daemon. Exit status 1 where something was lost or has leaked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import uvicorn
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kogpt_bot.generation.api import Service, make_app
from kogpt_bot.store.database import DATABASE
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.platform import FakePlatform
from tests.fakes.tokenizer import make_tokenizer

ROOT = Path(__file__).parents[1]
CHANNELS = 40
SAMPLE_S = 2.0
KEPT_ANSWERS = 2000  # by the fake platform: what grows must not be this process
WARM_UP = 0.25  # of the time: caches fill
MAX_SLOPE_MB_H = 2.0
MIN_MINUTES_FOR_SLOPE = 20.0  # below, the slope is noise and decides nothing
FIRST_S = 10.0
SETTLE_S = 8.0  # after the load, until nothing is under way any more
END_S = 180.0  # for what still waits: the longest time an answer is tried


class SlowEngine(FakeEngine):
    """Answers a character every 5 ms."""

    async def chunks(self, request):
        self.text = f" {len(self.requests)}번째로 하는 대답이에요. 잘 들었어요?"
        async for chunk in super().chunks(request):
            await asyncio.sleep(0.005)
            yield chunk
        self.requests[:] = [None] * len(self.requests)  # the fake must not be what grows


@dataclass(frozen=True)
class Sample:
    at: float
    rss: int
    descriptors: int
    tasks: int


@asynccontextmanager
async def service():
    engine = SlowEngine(tokenizer_json=make_tokenizer().to_str())
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        make_app(Service(engine=engine)), log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task
        listener.close()


@asynccontextmanager
async def daemon(folder: Path, url: str, platform: FakePlatform, console: int):
    config = folder / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "data_dir": str(folder / "data"),
                "adapters": {"web": {"enabled": False}, "keyed": {"port": platform.port}},
                "generation": {"url": url},
                "console": {"port": console},
                "logging": {"file": "bot.log"},
                "limits": {"burst_window_s": 0, "messages_per_minute": 1000},
            }
        )
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters"), str(ROOT / "tests/fakes/plugin")])
    with (folder / "output").open("w") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kogpt_bot", "run", "-c", str(config),
            stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    try:
        await asyncio.wait_for(platform.connected.wait(), 60)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 30)
        if code:
            sys.exit(f"the daemon ended with {code}: {(folder / 'output').read_text()[-2000:]}")


async def sample(process: psutil.Process, console: httpx.AsyncClient) -> Sample:
    figures = (await console.get("/metrics")).text
    tasks = next(row for row in figures.splitlines() if row.startswith("kogpt_bot_tasks "))
    memory = process.memory_info().rss
    return Sample(time.monotonic(), memory, descriptors(process.pid), int(float(tasks.split()[1])))


def descriptors(pid: int) -> int:
    """Return how many are open besides the database's: its pool, which has a limit, fills late."""
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += DATABASE not in os.readlink(each)
    return count


async def load(platform: FakePlatform, seconds: float, rate: float, every: float) -> int:
    """Say `rate` messages a second, evenly; drop the connection every so many seconds."""
    draw, said = random.Random(1), 0
    began = time.monotonic()
    dropped = began
    while (now := time.monotonic()) - began < seconds:
        platform.say(
            f"{said}번째 말이에요", channel=f"c{draw.randrange(CHANNELS)}", author=f"u{said % 200}"
        )
        said += 1
        if now - dropped > every:
            dropped = now
            platform.drop_connections()
        await asyncio.sleep(max(0.0, began + said / rate - time.monotonic()))
    return said


def slope(samples: list[Sample]) -> tuple[float, float]:
    """Return the growth of memory in MB an hour, and its standard error."""
    hours = [(each.at - samples[0].at) / 3600 for each in samples]
    sizes = [each.rss / 2**20 for each in samples]
    fit = statistics.linear_regression(hours, sizes)
    rest = [y - fit.intercept - fit.slope * x for x, y in zip(hours, sizes, strict=True)]
    spread = sum((x - statistics.fmean(hours)) ** 2 for x in hours)
    error = (sum(r * r for r in rest) / max(1, len(rest) - 2) / spread) ** 0.5
    return fit.slope, error


async def soak(minutes: float, rate: float, every: float, folder: Path) -> bool:
    """Run it; returns whether all is well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with (
        service() as url,
        FakePlatform(keyed=True).serving() as platform,
        daemon(folder, url, platform, port) as started,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as console,
    ):
        process = psutil.Process(started.pid)
        # First everything once, a lost connection too: pools fill, and are no leak.
        first = await load(platform, FIRST_S, rate, FIRST_S / 2)
        await quiet(platform, console)
        rested = await sample(process, console)
        said = asyncio.create_task(load(platform, minutes * 60, rate, every))
        samples = await watch(said, minutes * 60, process, console, platform)
        figures = await quiet(platform, console)
        after = await sample(process, console)
    return report(folder, said.result() + first, samples, rested, after, platform, figures, minutes)


async def quiet(platform: FakePlatform, console: httpx.AsyncClient) -> str:
    """Wait until everything is taken and answered; return the figures of then."""
    await platform.until(lambda: not platform.unacknowledged, END_S)
    async with asyncio.timeout(END_S):
        while True:
            await asyncio.sleep(SETTLE_S)
            figures = (await console.get("/metrics")).text
            if "\nkogpt_bot_lanes 0.0\n" in figures:
                return figures


async def watch(said, seconds, process, console, platform) -> list[Sample]:
    samples: list[Sample] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("soak", total=seconds)
        began = time.monotonic()
        while not said.done():
            await asyncio.wait([said], timeout=SAMPLE_S)
            samples.append(await sample(process, console))
            words = f"{samples[-1].rss / 2**20:.1f} MB, {samples[-1].tasks} tasks"
            progress.update(bar, completed=time.monotonic() - began, description=words)
            platform.shown = dict(list(platform.shown.items())[-KEPT_ANSWERS:])
    return samples


def report(folder, said, samples, rested, after, platform, figures, minutes) -> bool:
    warm = samples[int(len(samples) * WARM_UP) :]
    growth, error = slope(warm)
    with closing(sqlite3.connect(folder / "data" / DATABASE)) as connection:
        states = Counter(dict(connection.execute("SELECT state, count(*) FROM turns GROUP BY 1")))
    restarts = next(
        (r for r in figures.splitlines() if r.startswith("kogpt_bot_adapter_restarts_total")), "0"
    )
    log_bytes = sum(each.stat().st_size for each in (folder / "data").glob("bot.log*"))
    peak = max(each.rss for each in samples)
    print(
        f"{minutes:g} minutes, {said} messages, {restarts.split()[-1]} reconnects: {dict(states)}"
    )
    sizes = [f"{each / 2**20:.1f} MB" for each in (rested.rss, peak, after.rss)]
    print("memory: {} rested, {} at most, {} after".format(*sizes))
    print(f"slope after the warm-up: {growth:+.2f} ± {error:.2f} MB/h ({len(warm)} samples)")
    print(f"tasks: {rested.tasks} rested, {after.tasks} after")
    print(f"descriptors but the database's: {rested.descriptors} rested, {after.descriptors} after")
    print(f"log file: {log_bytes / 2**20:.2f} MB")
    good = states["replied"] == states.total() == said
    good = good and after.tasks <= rested.tasks and after.descriptors <= rested.descriptors
    judged = minutes >= MIN_MINUTES_FOR_SLOPE
    if judged:
        good = good and growth < MAX_SLOPE_MB_H
    unsaid = "" if judged else f"; the slope is not judged under {MIN_MINUTES_FOR_SLOPE:g} minutes"
    print(f"{'passed' if good else 'FAILED'}{unsaid}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=5.0, help="messages a second")
    parser.add_argument("--reconnect-every", type=float, default=45.0, help="seconds")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kogpt-soak-") as folder:
        good = asyncio.run(soak(chosen.minutes, chosen.rate, chosen.reconnect_every, Path(folder)))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
