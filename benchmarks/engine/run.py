"""Runs every engine on every workload, turn by turn, and writes what was measured as JSON.

    python -m benchmarks engine --folder /tmp/bench --venvs /tmp/peers \\
        --checkpoint 100M --workloads A B S --engines ours transformers openvino:int8

An engine is NAME or NAME:PRECISION (float32, bfloat16, float16, int8; with -kv8 keys and values
in 8 bits too). Each runs in a process of its own, with the Python of VENVS/VENV/bin/python; one
that is not installed is reported absent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.engine import checkpoints, report
from kogpt_bot.generation.workloads import WORKLOADS

VENVS = {
    "ctranslate2": "ct2",
    "openvino": "ov",
    "vllm": "vllm",
}  # the others run in our own environment
WORKER = Path(__file__).with_name("worker.py")
PARITY = "transformers:float32"


@dataclass
class Worker:
    """A process with one engine in it."""

    name: str
    process: subprocess.Popen[str]
    version: str = ""
    absent: str = ""

    def ask(self, wave: list[tuple[tuple[int, ...], int]]) -> dict:
        self.process.stdin.write(json.dumps(wave) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: status {self.process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(60)


@dataclass
class Run:
    """One round of one workload on one engine."""

    engine: str
    workload: str
    tokens: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    first: float = 0.0  # of the last wave, median, in CPU seconds
    first_wall: float = 0.0
    waves: list[dict] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)  # of all waves, for parity


def start(name: str, folder: Path, venvs: Path | None, threads: int) -> Worker:
    """Start an engine; `absent` says why where it cannot be."""
    engine, _, precision = name.partition(":")
    python = sys.executable
    if engine in VENVS:
        own = (venvs or Path()) / VENVS[engine] / "bin" / "python"
        if venvs is None or not own.exists():
            return Worker(name, None, absent=f"no {VENVS[engine]} in --venvs")  # type: ignore[arg-type]
        python = str(own)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [
            python,
            str(WORKER),
            engine,
            str(folder),
            precision or "float32",
            "--threads",
            str(threads),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    line = process.stdout.readline()
    said = json.loads(line) if line else {"absent": f"ended with status {process.wait()}"}
    return Worker(name, process, said.get("ready", ""), said.get("absent", ""))


def measure(worker: Worker, workload: str, vocabulary: int, seed: int) -> Run:
    """Run one workload once."""
    run = Run(worker.name, workload)
    waves = WORKLOADS[workload](vocabulary, seed)
    asked = next(waves)
    while True:
        got = worker.ask([(each.prompt, each.tokens) for each in asked])
        answers = [tokens for tokens, *_ in got["answers"]]
        count = sum(map(len, answers))
        run.tokens, run.wall, run.cpu = (
            run.tokens + count,
            run.wall + got["wall"],
            run.cpu + got["cpu"],
        )
        run.first = statistics.median(first for _, _, first in got["answers"])
        run.first_wall = statistics.median(first for _, first, _ in got["answers"])
        run.waves.append({"tokens": count, "wall": got["wall"], "cpu": got["cpu"]})
        run.answers += answers
        try:
            asked = waves.send(answers)
        except StopIteration:
            return run


def parity(runs: list[Run]) -> dict[str, str]:
    """Return engine -> how many answers are token for token those of transformers in float32."""
    wanted: dict[tuple[str, int], list[list[int]]] = {}
    counts: dict[str, list[int]] = {}
    rounds: dict[tuple[str, str], int] = {}
    for run in runs:
        number = rounds[run.engine, run.workload] = rounds.get((run.engine, run.workload), -1) + 1
        if run.engine == PARITY:
            wanted[run.workload, number] = run.answers
    rounds.clear()
    for run in runs:
        number = rounds[run.engine, run.workload] = rounds.get((run.engine, run.workload), -1) + 1
        other = wanted.get((run.workload, number))
        # In C the histories hold the answers: after a first difference all may differ.
        if other is not None and run.engine != PARITY:
            equal = sum(a == b for a, b in zip(run.answers, other, strict=True))
            found = counts.setdefault(run.engine, [0, 0])
            found[0], found[1] = found[0] + equal, found[1] + len(other)
    return {engine: f"{equal} of {all_}" for engine, (equal, all_) in counts.items()}


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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints and results")
    parser.add_argument("--venvs", type=Path, help="where the peers' environments are")
    parser.add_argument("--checkpoint", default="100M", choices=checkpoints.SHAPES)
    parser.add_argument("--workloads", nargs="+", default=["A", "B", "S"], choices=list(WORKLOADS))
    parser.add_argument("--engines", nargs="+", default=["ours", "ours:int8", "transformers"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = checkpoints.make(given.folder, given.checkpoint)
    names = [each if ":" in each else f"{each}:float32" for each in given.engines]
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console,
    )  # fmt: skip
    started = machine()
    runs: list[Run] = []
    workers: list[Worker] = []
    target = given.folder / f"{given.checkpoint}-{''.join(given.workloads)}.json"

    def found() -> dict:
        """Return what was measured so far."""
        return {
            "machine": started,
            "checkpoint": given.checkpoint,
            "threads": given.threads,
            "versions": {each.name: each.version for each in workers if not each.absent},
            "absent": {each.name: each.absent for each in workers if each.absent},
            "parity": parity(runs),
            "runs": [{k: v for k, v in asdict(run).items() if k != "answers"} for run in runs],
        }

    with bar:
        try:
            loading = bar.add_task("loading", total=len(names))
            for name in names:
                bar.update(loading, description=f"loading {name}")
                workers.append(start(name, folder, given.venvs, given.threads))
                bar.advance(loading)
            present = [each for each in workers if not each.absent]
            work = bar.add_task("", total=given.rounds * len(given.workloads) * len(present))
            vocabulary = checkpoints.SHAPES[given.checkpoint]["vocab_size"]
            for number in range(given.rounds):
                for workload in given.workloads:
                    # Turn by turn, in another order each round; another seed, so that no
                    # engine's cache knows the prompts of the round before.
                    for worker in random.Random(number).sample(present, len(present)):
                        bar.update(work, description=f"{workload} {worker.name}")
                        runs.append(measure(worker, workload, vocabulary, 100 * number + 7))
                        bar.advance(work)
                    target.write_text(json.dumps(found(), indent=1) + "\n")
        finally:
            for worker in workers:
                if worker.process is not None:
                    worker.end()
    print(report.table([found()]))
    print(f"\n{target}", file=sys.stderr)
    return 0
