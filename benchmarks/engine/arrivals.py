"""D: 200 channels of Zipf activity, Poisson arrivals, idle gaps: time to first token, memory.

    python -m benchmarks arrivals MODEL --rate 0.6 --requests 100 [--one-by-one]
    python -m benchmarks arrivals MODEL --memory 10000

Requests come when they come, whether or not the engine keeps up (open loop). `--one-by-one` has
transformers' generate answer the same arrivals from a queue. `--memory` asks as fast as can be
and says how much memory the process has along the way.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from dataclasses import dataclass, field

import psutil
from rich.progress import track

from kogpt_bot.generation.bench import ask
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.workloads import FIRST_TOKEN, Ask

CHANNELS = 200
ZIPF = 1.1  # the second channel says 1 / 2^1.1 of what the first says, and so on
KEPT = 1200  # tokens of history at most; the older half is dropped then, as the daemon does


@dataclass
class Conversations:
    """Who says what next; the same for every engine."""

    vocabulary: int
    context: int
    random: random.Random = field(default_factory=lambda: random.Random(11))

    def __post_init__(self) -> None:
        persona = self.words(64)
        self.histories = [persona for _ in range(CHANNELS)]
        self.weights = [1 / rank**ZIPF for rank in range(1, CHANNELS + 1)]

    def words(self, count: int) -> tuple[int, ...]:
        return tuple(self.random.randrange(FIRST_TOKEN, self.vocabulary) for _ in range(count))

    def next(self, tokens: int) -> tuple[int, Ask]:
        channel = self.random.choices(range(CHANNELS), self.weights)[0]
        history = self.histories[channel] + self.words(self.random.randint(10, 60))
        kept = min(KEPT, self.context // 2)
        if len(history) > kept:
            history = history[:64] + history[-kept // 2 :]
        self.histories[channel] = history
        return channel, Ask(history, tokens, str(channel))

    def answered(self, channel: int, tokens: list[int]) -> None:
        self.histories[channel] += tuple(tokens)


async def open_loop(engine: Engine, rate: float, requests: int) -> list[float]:
    """Return the time to the first token of each request, in seconds."""
    talk, clock = (
        Conversations(engine.info.vocab_size, engine.info.context_length),
        random.Random(5),
    )
    firsts: list[float] = []

    async def one() -> None:
        channel, asked = talk.next(32)
        answer = await ask(engine, asked, (time.perf_counter(), 0.0))
        firsts.append(answer.first_s)
        talk.answered(channel, answer.tokens)

    async with asyncio.TaskGroup() as group:
        for _ in track(range(requests), f"{rate:g} requests/s"):
            group.create_task(one())
            await asyncio.sleep(clock.expovariate(rate))
    return firsts


def queue_of_one(
    folder: str, rate: float, requests: int, vocabulary: int, context: int
) -> list[float]:
    """Return the same of transformers' generate, which answers one after the other."""
    from benchmarks.engine.worker import load as load_peer

    peer = load_peer("transformers")(folder, "float32", 1)
    talk, clock = Conversations(vocabulary, context), random.Random(5)
    arrival, firsts, begun = 0.0, [], time.perf_counter()
    for _ in track(range(requests), f"one by one, {rate:g} requests/s"):
        if (early := begun + arrival - time.perf_counter()) > 0:
            time.sleep(early)
        waited = time.perf_counter() - begun - arrival
        channel, asked = talk.next(32)
        [(tokens, first, _)] = peer.wave([(asked.prompt, asked.tokens)])
        firsts.append(waited + first)
        talk.answered(channel, tokens)
        arrival += clock.expovariate(rate)
    return firsts


async def memory(engine: Engine, requests: int) -> list[tuple[int, float]]:
    """Return (requests so far, MiB of this process)."""
    talk, done, found = Conversations(engine.info.vocab_size, engine.info.context_length), 0, []

    async def reader() -> None:
        nonlocal done
        while done < requests:
            done += 1
            number = done
            channel, asked = talk.next(4)
            answer = await ask(engine, asked, (0.0, 0.0))
            talk.answered(channel, answer.tokens)
            if number % (requests // 10) == 0:
                found.append((number, psutil.Process().memory_info().rss / 2**20))

    await asyncio.gather(*(reader() for _ in range(16)))
    return sorted(found)


def spread(firsts: list[float]) -> str:
    cuts = statistics.quantiles(firsts, n=20)
    return f"p50 {cuts[9]:.3f} s, p95 {cuts[18]:.3f} s"


async def serve(given: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    chosen = LoadOptions(
        given.model, device="cpu", dtype="float32", quantization=given.quantization
    )
    engine = Engine(load(chosen), cache_tokens=given.cache_tokens)
    await engine.start()
    if given.memory:
        for number, mib in await memory(engine, given.memory):
            print(f"{number:7} requests: {mib:.1f} MiB")
    else:
        cpu = time.process_time()
        firsts = await open_loop(engine, given.rate, given.requests)
        stats = engine.stats()
        hits = stats.reused / (stats.reused + stats.prefilled)
        print(
            f"kogpt-bot {given.quantization}: first token {spread(firsts)}; "
            f"{time.process_time() - cpu:.1f} CPU s, {hits:.0%} of prompt tokens reused, "
            f"{stats.evictions} blocks evicted"
        )
    await engine.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", help="mini, or a folder")
    parser.add_argument("--rate", type=float, default=0.6, help="requests a second")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--cache-tokens", type=int, default=16_000)
    parser.add_argument("--quantization", default="none", choices=["none", "int8"])
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS")
    given = parser.parse_args(arguments)
    asyncio.run(serve(given))
    if given.one_by_one:
        info = load(LoadOptions(given.model, device="cpu")).info
        firsts = queue_of_one(
            given.model, given.rate, given.requests, info.vocab_size, info.context_length
        )
        cpu = time.process_time()
        print(f"transformers, one by one: first token {spread(firsts)}; {cpu:.1f} CPU s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
