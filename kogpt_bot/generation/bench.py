"""How fast this machine serves a model: the workloads of `workloads.py` on our own engine."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from kogpt_bot.errors import GenerationBusy
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.request import GenerationRequest, SamplingParams
from kogpt_bot.generation.workloads import (
    LOAD,
    WORKLOADS,
    Arrival,
    Ask,
    Conversations,
    Wave,
    arrivals,
    at_once,
    median_and_late,
    regime,
    within,
)

COPY_BYTES = 256 << 20  # more than any cache of a processor
Report = Callable[[str, int, int], None]  # what runs, how much of it is done, and of how much
Said = Callable[[int], None]  # so many tokens more


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


@dataclass(frozen=True, slots=True)
class Served:
    """What D gave: each request's time to its first token since it came, in seconds."""

    rate: float  # requests a second
    firsts: list[float]
    wall_s: float
    cpu_s: float
    reused: float  # share of the prompts' tokens that the cache had
    evictions: int  # blocks


async def ask(
    engine: Engine, asked: Ask, begun: tuple[float, float], said: Said | None = None
) -> Answer:
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
        if said is not None:
            said(len(chunk.token_ids))
    return Answer(tokens, first, first_cpu)


async def wave(engine: Engine, asked: Wave, said: Said | None = None) -> list[Answer]:
    """Ask all at once; return the answers in their order."""
    begun = time.perf_counter(), time.process_time()
    return list(await asyncio.gather(*(ask(engine, each, begun, said) for each in asked)))


async def run(engine: Engine, workload: str, report: Report | None = None) -> Result:
    """Run one workload, to its end or to the end of the model's context."""
    vocabulary, context = engine.info.vocab_size, engine.info.context_length
    total, count = wanted(workload, vocabulary, context), 0

    def said(tokens: int) -> None:
        nonlocal count
        count += tokens
        if report is not None:
            report(workload, count, total)

    waves = within(WORKLOADS[workload](vocabulary), context)
    wall, cpu = time.perf_counter(), time.process_time()
    answers: list[Answer] = []
    asked = next(waves, None)
    while asked is not None:
        answers = await wave(engine, asked, said)
        try:
            asked = waves.send([each.tokens for each in answers])
        except StopIteration:
            asked = None
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    first = statistics.median(each.first_s for each in answers) if answers else float("nan")
    return Result(workload, count, wall, cpu, first)


def wanted(workload: str, vocabulary: int, context: int) -> int:
    """Return how many tokens a workload asks for within a context."""
    waves = within(WORKLOADS[workload](vocabulary), context)
    asked, count = next(waves, None), 0
    while asked is not None:
        count += sum(each.tokens for each in asked)
        try:
            asked = waves.send([[0] * each.tokens for each in asked])
        except StopIteration:
            asked = None
    return count


async def serve(
    engine: Engine, talk: Conversations, coming: Sequence[Arrival], report: Report | None = None
) -> list[float]:
    """Ask when a request arrives, kept up with or not; return seconds to each first token."""
    begun, done = time.perf_counter(), 0

    async def one(arrival: Arrival) -> float:
        nonlocal done
        asked = talk.ask(arrival)
        while True:
            try:
                answer = await ask(engine, asked, (begun + arrival.at, 0.0))
                break
            except GenerationBusy as busy:  # whoever wants an answer waits, and it counts
                await asyncio.sleep(busy.seconds or 0.0)
        talk.answered(arrival.channel, answer.tokens)
        done += 1
        if report is not None:
            report("D", done, len(coming))
        return answer.first_s

    async with asyncio.TaskGroup() as group:
        tasks = []
        for arrival in coming:
            await asyncio.sleep(begun + arrival.at - time.perf_counter())
            tasks.append(group.create_task(one(arrival)))
    return [task.result() for task in tasks]


async def run_arrivals(engine: Engine, requests: int, report: Report | None = None) -> Served:
    """Run D at a rate that is a share of what sixteen requests at once get."""
    vocabulary, context = engine.info.vocab_size, engine.info.context_length
    if report is not None:
        report("D: sixteen at once", 0, requests)
    for seed in (6, 7):  # the first makes ready what is made when it is first needed
        begun = time.perf_counter()
        asked = at_once(vocabulary, context, seed)
        await wave(engine, asked)
        rate = LOAD * len(asked) / (time.perf_counter() - begun)
    before = engine.stats()
    coming = arrivals(vocabulary, requests, rate)
    wall, cpu = time.perf_counter(), time.process_time()
    firsts = await serve(engine, Conversations(vocabulary, context), coming, report)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = engine.stats()
    reused, read = after.reused - before.reused, after.prefilled - before.prefilled
    evictions = after.evictions - before.evictions
    return Served(rate, firsts, wall, cpu, reused / (reused + read), evictions)


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


async def _measure(
    engine: Engine, workloads: Sequence[str], requests: int, report: Report
) -> list[Result | Served]:
    await engine.start()
    results: list[Result | Served] = []
    try:
        for each in workloads:
            if each == "D":
                results.append(await run_arrivals(engine, requests, report))
            else:
                results.append(await run(engine, each, report))
        return results
    finally:
        await engine.close()


def main(options: ServiceOptions, workloads: Sequence[str], requests: int) -> list[str]:
    """Load the model, run workloads with a progress bar, and return the lines of a report."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("loading", total=1.0)

        def loading(what: str, share: float) -> None:
            bar.update(task, description=f"loading {what}", completed=share)

        engine = Engine.load(
            LoadOptions.of(options), max_sequences=options.max_sequences, progress=loading
        )
        bar.update(task, description="memory", completed=0.0)
        speed = read_speed(engine.device)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        results = asyncio.run(_measure(engine, workloads, requests, report))
    return _lines(engine, speed, results)


def _lines(engine: Engine, speed: float, results: Sequence[Result | Served]) -> list[str]:
    info = engine.info
    lines = [
        f"{info.name}: {info.parameters / 1e6:.0f}M parameters, {info.dtype} on {info.device}, "
        f"quantization {info.quantization}, kv_cache_dtype {info.kv_cache_dtype}, "
        f"{torch.get_num_threads()} threads",
        f"memory reads {speed / 1e9:.1f} GB/s; a token reads {engine.weight_bytes / 1e6:.0f} MB "
        f"of weights: at most {speed / engine.weight_bytes:.0f} tokens/s in one stream",
    ]
    if waves := [each for each in results if isinstance(each, Result)]:
        lines += [
            "",
            "| workload | tokens/s | tokens/s of CPU time | first token, last wave |",
            "|---|---|---|---|",
        ]
        lines += [_row(each, engine.weight_bytes / speed) for each in waves]
    for served in results:
        if isinstance(served, Served):
            lines += ["", _sentence(served)]
    return lines


def _row(result: Result, bound_s: float) -> str:
    rate = result.tokens / result.wall_s if result.tokens else 0.0
    bound = f" ({rate * bound_s:.0%} of the bound)" if result.workload == "A" else ""
    return (
        f"| {result.workload} | {rate:.1f}{bound} | {result.tokens / result.cpu_s:.1f} | "
        f"{result.first_s:.3f} s |"
    )


def _sentence(served: Served) -> str:
    median, late = median_and_late(served.firsts)
    count = len(served.firsts)
    return (
        f"D: {regime(count, served.rate)} ({LOAD:.0%} of what 16 at once get): first token p50 "
        f"{median:.3f} s, p95 {late:.3f} s; {count / served.wall_s:.2f} requests answered a "
        f"second, {count / served.cpu_s:.2f} a second of CPU time; {served.reused:.0%} of the "
        f"prompts' tokens reused, {served.evictions} blocks evicted"
    )
