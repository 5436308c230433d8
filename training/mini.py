"""The whole pipeline: `python -m training.mini --corpus FOLDER` (`make mini CORPUS=FOLDER`)."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from training.train import STAGES


def run(module: str, *arguments: object) -> None:
    """Run one stage as a process of its own, so that its memory goes with it."""
    subprocess.run([sys.executable, "-m", f"training.{module}", *map(str, arguments)], check=True)


def main() -> None:
    """Run the stages; one that was cut off goes on where it was, one that is done is passed by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, help="folder of texts never to train on")
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--folder", type=Path, default=Path("kogpt_bot/mini"))
    parser.add_argument("--begin-with", type=Path, help="go on from the weights of this folder")
    for name, stage in STAGES.items():
        parser.add_argument(f"--{name}-steps", type=int, default=stage.steps, help="0: left out")
    given = parser.parse_args()
    runs, begin = given.runs, given.begin_with
    common = ("--runs", runs, "--corpus", given.corpus)
    if not (runs / "pretrain.bin").is_file():
        away = ("--evaluation", given.evaluation) if given.evaluation else ()
        run(
            "prepare", *common, *away, *(("--tokenizer", begin / "tokenizer.json") if begin else ())
        )
    start = begin
    stages = [name for name in STAGES if getattr(given, f"{name}_steps")]
    for seed, name in enumerate(stages, start=1):
        after = ("--start", start) if start else ()
        steps = getattr(given, f"{name}_steps")
        run("train", name, *common, "--steps", steps, "--seed", seed, *after)
        start = runs / f"{name}.pt"
    weights = ("--weights", start, "--tokenizer", runs / "tokenizer.json")
    run("export", *weights, "--folder", given.folder)
    logs = (runs / f"{name}.jsonl" for name in stages)
    run("plot", *logs, "--out", given.folder / "loss.svg")
    run("evaluate", "--folder", given.folder, "--corpus", given.corpus, "--held-out", runs)


if __name__ == "__main__":
    main()
