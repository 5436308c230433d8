"""Memory over many requests of D's 200 channels, asked as fast as can be, sixteen at a time.

    python -m benchmarks arrivals MODEL --memory 10000

How soon answers come under arrivals: `kogpt-bot bench --workloads D`; beside peers:
`python -m benchmarks engine --workloads D`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable

import psutil
from rich.console import Console
from rich.progress import track

from kogpt_bot.generation.bench import ask
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.workloads import Conversations, arrivals

READERS = 16


async def memory(engine: Engine, requests: int, show: Callable[[int, float], None]) -> None:
    """Show (requests so far, MiB of this process) ten times on the way."""
    vocabulary, context = engine.info.vocab_size, engine.info.context_length
    talk = Conversations(vocabulary, context, tokens=4)
    coming = track(
        arrivals(vocabulary, requests, rate=1.0), "requests", console=Console(stderr=True)
    )
    numbered = enumerate(coming, 1)

    async def reader() -> None:
        for number, arrival in numbered:
            answer = await ask(engine, talk.ask(arrival), (0.0, 0.0))
            talk.answered(arrival.channel, answer.tokens)
            if number % max(requests // 10, 1) == 0:
                show(number, psutil.Process().memory_info().rss / 2**20)

    await asyncio.gather(*(reader() for _ in range(READERS)))


async def serve(given: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    chosen = LoadOptions(
        given.model, device="cpu", dtype="float32", quantization=given.quantization
    )
    engine = Engine(load(chosen), cache_tokens=given.cache_tokens)
    await engine.start()
    try:
        await memory(
            engine, given.memory, lambda number, mib: print(f"{number:7} requests: {mib:.1f} MiB")
        )
    finally:
        await engine.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", help="mini, or a folder")
    parser.add_argument("--memory", type=int, default=10_000, metavar="REQUESTS")
    parser.add_argument("--cache-tokens", type=int, default=16_000)
    parser.add_argument("--quantization", default="none", choices=["none", "int8"])
    asyncio.run(serve(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
