"""The whole pipeline: `python -m training.mini --corpus FOLDER` (`make mini CORPUS=FOLDER`)."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def run(module: str, *arguments: object) -> None:
    """Run one stage as a process of its own, so that its memory goes with it."""
    subprocess.run([sys.executable, "-m", f"training.{module}", *map(str, arguments)], check=True)


def main() -> None:
    """Run the stages that are not done yet; each leaves its result in `--runs`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, help="folder of texts never to train on")
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument(
        "--steps", type=int, default=1000, help="of pre-training, 4,096 tokens each"
    )
    parser.add_argument("--minutes", type=float, default=60, help="of chat tuning")
    given = parser.parse_args()
    runs = ("--runs", given.runs)
    if not (given.runs / "pretrain.bin").is_file():
        leave_out = ("--evaluation", given.evaluation) if given.evaluation else ()
        run("prepare", "--corpus", given.corpus, *leave_out, *runs)
    if not (given.runs / "pretrained.pt").is_file():
        run("pretrain", "--steps", given.steps, *runs)
    run("tune", "--corpus", given.corpus, "--minutes", given.minutes, *runs)
    run("polish", "--corpus", given.corpus, *runs)
    weights, tokenizer = given.runs / "polished.pt", given.runs / "tokenizer.json"
    run("export", "--weights", weights, "--tokenizer", tokenizer)
    run("evaluate")


if __name__ == "__main__":
    main()
