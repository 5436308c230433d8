"""How fast this machine serves a model: the workloads of `workloads.py` on our own engine."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.request import GenerationRequest, SamplingParams
from kogpt_bot.generation.workloads import WORKLOADS, Ask, Wave

COPY_BYTES = 256 << 20  # more than any cache of a processor
Report = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """The tokens of one request, and the times of its first one since the wave began."""

    tokens: list[int]
    first_s: float
    first_cpu_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one workload gave: of all its waves together, and the last wave's first tokens."""

    workload: str
    tokens: int
    wall_s: float
    cpu_s: float
    first_s: float  # median of the last wave


async def ask(engine: Engine, asked: Ask, begun: tuple[float, float]) -> Answer:
    """Ask for one greedy answer of the wanted length."""
    request = GenerationRequest(
        "bench",
        asked.prompt,
        SamplingParams(temperature=0),
        max_tokens=asked.tokens,
        ignore_eos=True,
        channel=asked.channel,
    )
    tokens: list[int] = []
    first = first_cpu = 0.0
    async for chunk in engine.generate(request):
        if not tokens and chunk.token_ids:
            first, first_cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
        tokens += chunk.token_ids
    return Answer(tokens, first, first_cpu)


async def wave(engine: Engine, asked: Wave) -> list[Answer]:
    """Ask all at once; return the answers in their order."""
    begun = time.perf_counter(), time.process_time()
    return list(await asyncio.gather(*(ask(engine, each, begun) for each in asked)))


async def run(engine: Engine, workload: str, report: Report | None = None) -> Result:
    """Run one workload, to its end or to the end of the model's context."""
    waves = WORKLOADS[workload](engine.info.vocab_size)
    wall, cpu = time.perf_counter(), time.process_time()
    count, number = 0, 0
    answers: list[Answer] = []
    asked: Wave | None = next(waves)
    while asked is not None and all(_fits(engine, each) for each in asked):
        answers = await wave(engine, asked)
        count, number = count + sum(len(each.tokens) for each in answers), number + 1
        if report is not None:
            report(workload, number)
        try:
            asked = waves.send([each.tokens for each in answers])
        except StopIteration:
            asked = None
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    first = statistics.median(each.first_s for each in answers) if answers else float("nan")
    return Result(workload, count, wall, cpu, first)


def _fits(engine: Engine, asked: Ask) -> bool:
    return len(asked.prompt) + asked.tokens <= engine.info.context_length


def read_speed(device: torch.device) -> float:
    """Return how many bytes a second a sum reads from memory (a copy's, on a GPU)."""
    buffer = torch.ones(COPY_BYTES // 4, device=device)
    target = torch.empty_like(buffer) if device.type == "cuda" else None
    best = float("inf")
    for _ in range(8):
        begun = time.perf_counter()
        if target is None:
            buffer.sum()
        else:
            target.copy_(buffer)
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return COPY_BYTES * (1 if target is None else 2) / best


async def _measure(engine: Engine, workloads: Sequence[str], report: Report) -> list[Result]:
    await engine.start()
    try:
        return [await run(engine, each, report) for each in workloads]
    finally:
        await engine.close()


def main(options: ServiceOptions, workloads: Sequence[str]) -> list[str]:
    """Load the model, run workloads with a progress bar, and return a table's lines."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("loading", total=None)
        engine = Engine.load(LoadOptions.of(options), max_sequences=options.max_sequences)
        bar.update(task, description="memory")
        speed = read_speed(engine.device)

        def report(workload: str, number: int) -> None:
            bar.update(task, description=f"{workload}: wave {number}")

        results = asyncio.run(_measure(engine, workloads, report))
    info = engine.info
    lines = [
        f"{info.name}: {info.parameters / 1e6:.0f}M parameters, {info.dtype} on {info.device}, "
        f"quantization {info.quantization}, kv_cache_dtype {info.kv_cache_dtype}, "
        f"{torch.get_num_threads()} threads",
        f"memory reads {speed / 1e9:.1f} GB/s; a token reads {engine.weight_bytes / 1e6:.0f} MB "
        f"of weights: at most {speed / engine.weight_bytes:.0f} tokens/s in one stream",
        "",
        "| workload | tokens/s | tokens/s of CPU time | first token, last wave |",
        "|---|---|---|---|",
    ]
    for each in results:
        rate = each.tokens / each.wall_s if each.tokens else 0.0
        bound = f" ({rate * engine.weight_bytes / speed:.0%} of the bound)"
        lines.append(
            f"| {each.workload} | {rate:.1f}{bound if each.workload == 'A' else ''} | "
            f"{each.tokens / each.cpu_s:.1f} | {each.first_s:.3f} s |"
        )
    return lines
