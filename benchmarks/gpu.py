"""What a GPU should show, in one call: answers equal to transformers', the share of the memory's
speed, many streams against one by one, and KoGPT's shape in 16 GB.

Checkpoints are random; KoGPT's shape takes 12 GB on disk. Each part is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.engine.checkpoints import make

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


def parity(folder: Path) -> dict[str, Any]:
    """Greedy answers in float32, prompts served together, against GPTJForCausalLM."""
    checkpoint, asked = make(folder, "100M"), _prompts(48, 1, 300, 32)
    wanted, _ = _generate(checkpoint, asked, "float32")
    found, _ = _wave(_engine(checkpoint, dtype="float32"), asked)
    equal = sum(a == b for a, b in zip(found, wanted, strict=True))
    if equal < len(asked) - 1:  # among 1,500 random logits two may be as good as equal
        raise SystemExit(f"parity: {equal} of {len(asked)} answers are equal")
    return {"equal": equal, "of": len(asked)}


def one_stream(folder: Path) -> dict[str, Any]:
    """Tokens a second of one stream, and its share of what the memory's speed allows."""
    import torch

    from kogpt_bot.generation.bench import read_speed

    checkpoint, found = make(folder, "6B"), {}
    speed = read_speed(torch.device("cuda"))
    for name, options in {
        "float16": {"dtype": "float16"},
        "int8": {"dtype": "float16", "quantization": "int8"},
        "int8-kv8": {"dtype": "float16", "quantization": "int8", "kv_cache_dtype": "int8"},
    }.items():
        engine = _engine(checkpoint, **options)
        _, rate = _wave(engine, _prompts(1, 32, 32, 256))
        bound = speed / engine.weight_bytes
        found[name] = {"tokens/s": round(rate, 1), "of the bound": round(rate / bound, 3)}
        del engine
        gc.collect()  # an engine and its graphs refer to each other
        torch.cuda.empty_cache()
    found["copies, GB/s"] = round(speed / 1e9)
    return found


def many_streams(folder: Path) -> dict[str, Any]:
    """64 streams against `generate` one by one, in float16."""
    import torch

    checkpoint, asked = make(folder, "6B"), _prompts(STREAMS, 128, 128, 128)
    _, alone = _generate(checkpoint, asked[:3], "float16")
    gc.collect()
    torch.cuda.empty_cache()
    _, together = _wave(_engine(checkpoint, STREAMS, dtype="float16"), asked)
    return {
        "tokens/s": round(together),
        "generate": round(alone, 1),
        "times": round(together / alone, 1),
    }


def small_card(folder: Path) -> dict[str, Any]:
    """KoGPT's shape with all but 16 GB of the card's memory taken."""
    import torch

    checkpoint = make(folder, "6B")
    free = torch.cuda.mem_get_info()[0]
    ballast = torch.empty(max(free - CARD, 0), dtype=torch.uint8, device="cuda")
    engine = _engine(checkpoint, dtype="float16")
    _, rate = _wave(engine, _prompts(16, 256, 256, 64))
    used = torch.cuda.max_memory_reserved() - ballast.nbytes
    return {"tokens/s of 16": round(rate), "GiB reserved": round(used / (1 << 30), 2)}


PARTS = {each.__name__: each for each in (parity, one_stream, many_streams, small_card)}


def main(arguments: list[str]) -> int:
    """Run each part in a fresh process and print what it found."""
    parser = argparse.ArgumentParser(prog="benchmarks gpu", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where checkpoints are made")
    parser.add_argument("--part", choices=PARTS, help="this part only, in this process")
    given = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured", file=sys.stderr)
        return 1
    if given.part:
        print(json.dumps({given.part: PARTS[given.part](given.folder)}))
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    command = [sys.executable, "-m", "benchmarks", "gpu", "--folder", str(given.folder), "--part"]
    failed = [part for part in PARTS if subprocess.run([*command, part], check=False).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))
