"""What a GPU should show, in one call: answers equal to transformers', the share of the memory's
speed, many streams against one by one, and KoGPT's shape in 16 GB.

Checkpoints are random; KoGPT's shape takes 12 GB in the folder (/dev/shm, if the disk is slow).
Each part is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.engine.checkpoints import make

Found = Iterator[tuple[str, object]]  # what was measured, and the figure
CARD = 15 << 30  # bytes: what a card of 16 GB has left for a process, about
STREAMS = 64


def _engine(folder: Path, streams: int = 16, **options: str) -> Any:
    from kogpt_bot.generation.engine import Engine
    from kogpt_bot.generation.loading import LoadOptions

    given = LoadOptions(model=str(folder), device="cuda", **options)
    return Engine.load(given, max_sequences=streams)


def _wave(engine: Any, asked: list[tuple[list[int], int]]) -> tuple[list[list[int]], float]:
    """Ask all at once; return the answers, and tokens a second. Other prompts of the same lengths
    come before: they record the graphs, and leave nothing that can be reused."""
    from kogpt_bot.generation.bench import Ask, wave

    asks = [Ask(tuple(ids), count, str(number)) for number, (ids, count) in enumerate(asked)]
    others = [Ask(tuple(each + 1 for each in one.prompt), one.tokens, one.channel) for one in asks]

    async def both() -> tuple[list[list[int]], float]:
        await engine.start()
        await wave(engine, others)
        begun = time.perf_counter()
        answers = await wave(engine, asks)
        seconds = time.perf_counter() - begun
        await engine.close()
        return [each.tokens for each in answers], sum(c for _, c in asked) / seconds

    return asyncio.run(both())


def _generate(folder: Path, asked: list[tuple[list[int], int]], dtype: str) -> tuple[Any, float]:
    """transformers, a request after the other: the answers, and tokens a second."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).cuda().eval()
    settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 3}
    model.generate(torch.tensor([asked[0][0]]).cuda(), max_new_tokens=2, **settings)
    begun = time.perf_counter()
    with torch.inference_mode():
        answers = [
            model.generate(torch.tensor([ids]).cuda(), max_new_tokens=count, **settings)[
                0, len(ids) :
            ].tolist()
            for ids, count in asked
        ]
    return answers, sum(count for _, count in asked) / (time.perf_counter() - begun)


def _prompts(count: int, low: int, high: int, tokens: int) -> list[tuple[list[int], int]]:
    rng = random.Random(1)
    return [
        ([rng.randrange(10, 30_000) for _ in range(rng.randint(low, high))], tokens)
        for _ in range(count)
    ]


def _prepare(folder: Path) -> Found:
    """Write the checkpoints: a part of its own, since it takes a minute."""
    for name in ("100M", "6B"):
        yield name, str(make(folder, name))


def _parity(folder: Path) -> Found:
    """Greedy answers in float32, prompts served together, against GPTJForCausalLM."""
    checkpoint, asked = make(folder, "100M"), _prompts(48, 1, 300, 32)
    wanted, _ = _generate(checkpoint, asked, "float32")
    found, _ = _wave(_engine(checkpoint, dtype="float32"), asked)
    equal = sum(a == b for a, b in zip(found, wanted, strict=True))
    yield "equal answers", f"{equal} of {len(asked)}"
    if equal < len(asked) - 1:  # among 1,500 random logits two may be as good as equal
        raise SystemExit("parity: too few answers are equal")


def _one_stream(folder: Path) -> Found:
    """Tokens a second of one stream, and its share of what the memory's speed allows."""
    import torch

    from kogpt_bot.generation.bench import read_speed

    checkpoint = make(folder, "6B")
    speed = read_speed(torch.device("cuda"))
    yield "copies, GB/s", round(speed / 1e9)
    for name, options in {
        "float16": {"dtype": "float16"},
        "int8": {"dtype": "float16", "quantization": "int8"},
        "int8, cache in int8": {
            "dtype": "float16",
            "quantization": "int8",
            "kv_cache_dtype": "int8",
        },
    }.items():
        engine = _engine(checkpoint, **options)
        _, rate = _wave(engine, _prompts(1, 32, 32, 256))
        share = rate * engine.weight_bytes / speed
        yield name, f"{rate:.1f} tokens/s, {share:.1%} of the bound"
        del engine
        gc.collect()  # an engine and its graphs refer to each other
        torch.cuda.empty_cache()


def _many_streams(folder: Path) -> Found:
    """64 streams against `generate` one by one, in float16."""
    import torch

    checkpoint, asked = make(folder, "6B"), _prompts(STREAMS, 128, 128, 128)
    _, together = _wave(_engine(checkpoint, STREAMS, dtype="float16"), asked)
    yield f"{STREAMS} streams, tokens/s", round(together)
    gc.collect()
    torch.cuda.empty_cache()
    _, alone = _generate(checkpoint, asked[:3], "float16")
    yield "generate, tokens/s", round(alone, 1)
    yield "times", round(together / alone, 1)


def _small_card(folder: Path) -> Found:
    """KoGPT's shape with all but 16 GB of the card's memory taken."""
    import torch

    checkpoint = make(folder, "6B")
    free = torch.cuda.mem_get_info()[0]
    ballast = torch.empty(max(free - CARD, 0), dtype=torch.uint8, device="cuda")
    engine = _engine(checkpoint, dtype="float16")
    _, rate = _wave(engine, _prompts(16, 256, 256, 64))
    yield "16 streams, tokens/s", round(rate)
    used = torch.cuda.max_memory_reserved() - ballast.nbytes
    yield "GiB reserved", round(used / (1 << 30), 2)


PARTS: dict[str, Callable[[Path], Found]] = {
    "prepare": _prepare,
    "one_stream": _one_stream,
    "many_streams": _many_streams,
    "small_card": _small_card,
    "parity": _parity,
}


def main(arguments: list[str]) -> int:
    """Run each part in a fresh process; what it finds is printed as it is found."""
    parser = argparse.ArgumentParser(prog="benchmarks gpu", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where checkpoints are made")
    parser.add_argument("--part", choices=PARTS, help="this part only, in this process")
    given = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured", file=sys.stderr)
        return 1
    if given.part:
        begun = time.perf_counter()
        for name, found in PARTS[given.part](given.folder):
            passed = time.perf_counter() - begun
            print(f"{given.part}: {name}: {found} ({passed:.0f} s)", flush=True)
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    command = [sys.executable, "-m", "benchmarks", "gpu", "--folder", str(given.folder), "--part"]
    failed = []
    for number, part in enumerate(PARTS, 1):
        print(f"{part}: part {number} of {len(PARTS)}", file=sys.stderr, flush=True)
        if subprocess.run([*command, part], check=False).returncode:
            failed.append(part)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))
