"""Runs every engine on every workload, turn by turn, and writes what was measured as JSON.

    python -m benchmarks engine --folder /tmp/bench --venvs /tmp/peers \\
        --checkpoint 100M --workloads A B S --engines ours transformers openvino:int8

An engine is NAME or NAME:PRECISION (float32, bfloat16, float16, int8; with -kv8 keys and values
in 8 bits too). Each runs in a process of its own, with the Python of VENVS/VENV/bin/python; one
that is not installed is reported absent. Where transformers:float32 runs, the status is 1 if an
engine in float32 has an answer that is not its (other than where two tokens are level).

D asks in an open loop: requests come at --rate, whether or not an engine keeps up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.engine import checkpoints, parity, report
from benchmarks.engine.measure import (
    Run,
    Served,
    Worker,
    half_load,
    measure,
    measure_arrivals,
    start,
)
from kogpt_bot.generation.workloads import LOAD, WORKLOADS


def machine() -> str:
    model = next(
        (
            row.partition(":")[2].strip()
            for row in Path("/proc/cpuinfo").read_text().splitlines()
            if row.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"


class Session:
    """The engines of one call, and what was measured on them so far."""

    def __init__(self, given: argparse.Namespace, bar: Progress) -> None:
        self._given, self._bar = given, bar
        self._machine = machine()
        self._vocabulary = checkpoints.SHAPES[given.checkpoint]["vocab_size"]
        self.workers: list[Worker] = []
        self._runs: list[Run] = []
        self._served: list[Served] = []
        self._judged: list[str] = []
        self._counts: dict[str, parity.Parity] = {}

    @property
    def present(self) -> list[Worker]:
        """The engines that could be started."""
        return [each for each in self.workers if not each.absent]

    @property
    def wrong(self) -> int:
        """How many answers in float32 are not transformers'."""
        return sum(each.wrong for each in self._counts.values())

    def load(self, names: list[str], folder: Path) -> None:
        """Start the engines, one after the other."""
        task = self._bar.add_task("loading", total=len(names))
        for name in names:
            self._bar.update(task, description=f"loading {name}")
            self.workers.append(start(name, folder, self._given.venvs, self._given.threads))
            self._bar.advance(task)

    def measure(self, target: Path) -> None:
        """Run everything, and write what is known after each workload."""
        given, present = self._given, self.present
        plan, why = self._plan() if "D" in given.workloads else ({}, "")
        task = self._bar.add_task("", total=given.rounds * len(given.workloads) * len(present))
        for number in range(given.rounds):
            for workload in given.workloads:
                # Turn by turn, in another order each round; another seed, so that no
                # engine's cache knows the prompts of the round before (D's persona stays).
                for worker in random.Random(number).sample(present, len(present)):
                    what = f"{workload} {worker.name}"
                    self._bar.update(task, description=what)
                    if workload == "D":

                        def done(count: int, what: str = what) -> None:
                            text = f"{what}: {count} of {given.requests}"
                            self._bar.update(task, description=text)

                        served = measure_arrivals(worker, plan, number, why, done)
                        self._served.append(served)
                    else:
                        self._runs.append(measure(worker, workload, number, self._vocabulary))
                    self._bar.advance(task)
                target.write_text(json.dumps(self.found(), indent=1) + "\n")

    def _plan(self) -> tuple[dict, str]:
        """Return what D's arrivals are, and why they have this rate."""
        given = self._given
        sizes = {"vocabulary": self._vocabulary, "context": checkpoints.CONTEXT}
        rates = [half_load(each, **sizes) for each in self.present]  # which makes all of them warm
        if given.rate:
            return {**sizes, "requests": given.requests, "rate": given.rate}, "as given"
        why = f"{LOAD:.0%} of what {self.present[0].name} answers of 16 at once"
        return {**sizes, "requests": given.requests, "rate": rates[0]}, why

    def judge(self) -> None:
        """Ask transformers how far apart tokens are where answers in float32 differ."""
        self._counts, differences = parity.compare(self._runs)
        asked = [each.question for each in differences if each.question is not None]
        gaps = []
        if asked:
            task = self._bar.add_task("logits where answers differ", total=len(asked))
            base = next(each for each in self.present if each.name == parity.BASE)
            for each in asked:
                gaps += base.ask({"gaps": [each]})["gaps"]
                self._bar.advance(task)
        answered = iter(gaps)
        every = [parity.ENDED if d.question is None else next(answered) for d in differences]
        self._judged = parity.judge(self._counts, differences, every)

    def found(self) -> dict:
        """Return what was measured so far; answers are not compared before they are judged."""
        return {
            "machine": self._machine,
            "checkpoint": self._given.checkpoint,
            "threads": self._given.threads,
            "versions": {each.name: each.version for each in self.present},
            "absent": {each.name: each.absent for each in self.workers if each.absent},
            "parity": {engine: asdict(count) for engine, count in self._counts.items()},
            "differences": self._judged,
            "runs": [
                {k: v for k, v in vars(run).items() if k not in ("prompts", "answers")}
                for run in self._runs
            ],
            "served": [vars(each) for each in self._served],
        }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints and results")
    parser.add_argument("--venvs", type=Path, help="where the peers' environments are")
    parser.add_argument("--checkpoint", default="100M", choices=checkpoints.SHAPES)
    parser.add_argument(
        "--workloads", nargs="+", default=["A", "B", "S"], choices=[*WORKLOADS, "D"]
    )
    parser.add_argument("--engines", nargs="+", default=["ours", "ours:int8", "transformers"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--requests", type=int, default=100, help="of D, in a round")
    parser.add_argument(
        "--rate", type=float, help="of D, requests a second; by what the first engine does"
    )
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = checkpoints.make(given.folder, given.checkpoint)
    names = [each if ":" in each else f"{each}:float32" for each in given.engines]
    target = given.folder / f"{given.checkpoint}-{''.join(given.workloads)}.json"
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
    session = Session(given, bar)
    with bar:
        try:
            session.load(names, folder)
            if not session.present:
                print(*session.found()["absent"].items(), sep="\n", file=sys.stderr)
                return 1
            session.measure(target)
            session.judge()
        finally:
            for worker in session.workers:
                worker.end()
    found = session.found()
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(report.table([found]))
    print(f"\n{target}", file=sys.stderr)
    for line in found["differences"]:
        print(line, file=sys.stderr)
    if parity.BASE not in found["versions"]:
        print(f"{parity.BASE} did not run: no answers were compared", file=sys.stderr)
    return int(session.wrong > 0)
