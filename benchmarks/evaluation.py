"""The evaluation harness with the prefix cache and without: requests a second, in turn.

Without: every request has a `cache_salt` of its own, so that none finds what another computed.
Each round draws other shots: none of them are in the cache when the round begins.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from kogpt_bot.evaluation.data import BENCHMARKS, Benchmark, Item, draw_items, draw_shots, read
from kogpt_bot.evaluation.harness import Run, Target, run
from kogpt_bot.evaluation.served import own_service


@contextmanager
def nothing_shared() -> Iterator[None]:
    """Give each request of the harness a salt of its own."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    plain = LocalCompletionsAPI._create_payload

    def salted(self: LocalCompletionsAPI, *arguments: Any, **fields: Any) -> dict[str, Any]:
        return {**plain(self, *arguments, **fields), "cache_salt": uuid.uuid4().hex}

    LocalCompletionsAPI._create_payload = salted
    try:
        yield
    finally:
        LocalCompletionsAPI._create_payload = plain


def difference(one: Run, other: Run) -> float:
    """Return the largest difference of two runs' log-likelihoods."""
    pairs = zip(one.log_likelihoods, other.log_likelihoods, strict=True)
    return max(abs(a - b) for left, right in pairs for a, b in zip(left, right, strict=True))


def measure(
    benchmark: Benchmark, items: Sequence[Item], shots: Sequence[Item], target: Target, shared: bool
) -> tuple[float, Run]:
    """Return the requests a second of one run, and what came of it."""
    with nullcontext() if shared else nothing_shared():
        begun = time.perf_counter()
        found = run(benchmark, items, shots, target)
    return len(items) * benchmark.classes / (time.perf_counter() - begun), found


def main(arguments: Sequence[str]) -> int:
    """Run the rounds and print a table; 1 where the results differ by more than 1e-3."""
    parser = argparse.ArgumentParser(prog="benchmarks evaluation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="see docs/evaluation.md")
    parser.add_argument("--benchmark", choices=BENCHMARKS, default="nsmc")
    parser.add_argument("--shots", type=int, default=20)
    parser.add_argument("--limit", type=int, default=100, help="items")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="mini")
    chosen = parser.parse_args(arguments)
    benchmark = BENCHMARKS[chosen.benchmark]
    items = draw_items(read(chosen.data, benchmark.file, benchmark), chosen.limit, 0)
    pool = read(chosen.data, benchmark.shots_file or benchmark.file, benchmark)
    pool = [item for item in pool if item not in items]
    rates: dict[bool, list[float]] = {True: [], False: []}
    worst = 0.0
    with own_service(chosen.model, None, None) as target:
        measure(benchmark, items[:2], [], target, True)  # imports, and the first kernels
        for seed in range(chosen.rounds):
            shots = draw_shots(pool, chosen.shots, benchmark.classes, seed)
            runs = {}
            for shared in (False, True):
                rate, runs[shared] = measure(benchmark, items, shots, target, shared)
                rates[shared].append(rate)
            worst = max(worst, difference(runs[True], runs[False]))
            both = ", ".join(f"{rates[each][-1]:.1f}" for each in (False, True))
            print(f"round {seed + 1}: {both} requests/s without and with", flush=True)
    without, cached = (statistics.median(rates[each]) for each in (False, True))
    print(f"{chosen.model}, {benchmark.name}, {chosen.shots} shots, {len(items)} items; "
          f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")  # fmt: skip
    print("| prefix cache | requests/s, median | each round |\n|---|---|---|")
    for name, shared in (("off", False), ("on", True)):
        each = ", ".join(f"{rate:.1f}" for rate in rates[shared])
        print(f"| {name} | {statistics.median(rates[shared]):.1f} | {each} |")
    print(f"\n{cached / without:.1f} times as fast; log-likelihoods differ by at most {worst:.1e}")
    return int(worst > 1e-3)
