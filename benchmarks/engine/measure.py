"""A process with an engine in it, and one round of one workload on it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kogpt_bot.generation.workloads import LOAD, WORKLOADS, at_once

VENVS = {
    "ctranslate2": "ct2",
    "openvino": "ov",
    "vllm": "vllm",
}  # the others run in our own environment
WORKER = Path(__file__).with_name("worker.py")


@dataclass
class Worker:
    """A process with one engine in it."""

    name: str
    process: subprocess.Popen[str] | None
    version: str = ""
    absent: str = ""

    def ask(self, question: dict, report: Callable[[int], None] | None = None) -> dict:
        """Put a question (`worker.py`); what is done of it is reported on the way."""
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            said = json.loads(line)
            if "done" not in said:
                return said
            if report is not None:
                report(said["done"])
        raise RuntimeError(f"{self.name} ended: status {self.process.wait()}")

    def end(self) -> None:
        """Let the process end by itself."""
        if self.process is not None and self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(60)


@dataclass
class Run:
    """One round of one workload on one engine."""

    engine: str
    workload: str
    round: int
    tokens: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    first: float = 0.0  # of the last wave, median, in CPU seconds
    first_wall: float = 0.0
    waves: list[dict] = field(default_factory=list)
    prompts: list[tuple[int, ...]] = field(default_factory=list)  # of all waves, for parity
    answers: list[list[int]] = field(default_factory=list)


@dataclass
class Served:
    """One round of D on one engine: seconds from each request's arrival to its first token."""

    engine: str
    round: int
    rate: float  # requests a second
    why: str  # this rate
    firsts: list[float]
    wall: float
    cpu: float


def start(name: str, folder: Path, venvs: Path | None, threads: int) -> Worker:
    """Start an engine; `absent` says why where it cannot be."""
    engine, _, precision = name.partition(":")
    python = sys.executable
    if engine in VENVS:
        own = (venvs or Path()) / VENVS[engine] / "bin" / "python"
        if venvs is None or not own.exists():
            return Worker(name, None, absent=f"no {VENVS[engine]} in --venvs")
        python = str(own)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    command = [python, str(WORKER), engine, str(folder), precision, "--threads", str(threads)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    line = process.stdout.readline()
    said = json.loads(line) if line else {"absent": f"ended with status {process.wait()}"}
    return Worker(name, process, said.get("ready", ""), said.get("absent", ""))


def measure(worker: Worker, workload: str, number: int, vocabulary: int) -> Run:
    """Run one workload once; the seed is the round's."""
    run = Run(worker.name, workload, number)
    waves = WORKLOADS[workload](vocabulary, 100 * number + 7)
    asked = next(waves)
    while True:
        got = worker.ask({"wave": [(each.prompt, each.tokens) for each in asked]})
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
        run.prompts += [each.prompt for each in asked]
        run.answers += answers
        try:
            asked = waves.send(answers)
        except StopIteration:
            return run


def half_load(worker: Worker, vocabulary: int, context: int) -> float:
    """Return a rate for D: a share of the requests a second that an engine answers at once."""
    for seed in (6, 7):  # the first makes ready what is made when it is first needed
        asked = at_once(vocabulary, context, seed)
        got = worker.ask({"wave": [(each.prompt, each.tokens) for each in asked]})
    return LOAD * len(asked) / got["wall"]


def measure_arrivals(
    worker: Worker, plan: dict, number: int, why: str, report: Callable[[int], None]
) -> Served:
    """Run D once; the seed is the round's."""
    got = worker.ask({"arrivals": {**plan, "seed": 100 * number + 5}}, report)
    return Served(worker.name, number, plan["rate"], why, got["firsts"], got["wall"], got["cpu"])
