"""Pre-training on plain text: the language, before the manner of talking."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from tqdm import tqdm

from training.model import Model
from training.optimiser import Optimiser
from training.packed import PackedText

LENGTH = 256  # tokens of a sequence
ROWS = 16
WARM_UP = 60  # steps


def pretrain(runs: Path, steps: int, threads: int, seed: int) -> None:
    """Take `steps` steps of 4,096 tokens; the rate stays up, since tuning brings it down."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    model = Model()
    optimiser = Optimiser(model)
    texts = PackedText(runs / "pretrain.bin", LENGTH, seed)
    begun, mean = time.monotonic(), 0.0
    with (runs / "pretrain.jsonl").open("w") as log:
        for step in (bar := tqdm(range(steps))):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model.loss(*texts.batch(ROWS))
            optimiser.step(loss, min(1.0, (step + 1) / WARM_UP))
            mean = loss.item() if not step else 0.95 * mean + 0.05 * loss.item()
            if step % 10 == 0:
                minutes = round((time.monotonic() - begun) / 60, 1)
                log.write(json.dumps({"step": step, "loss": round(mean, 3), "min": minutes}) + "\n")
                log.flush()
                bar.set_postfix(loss=f"{mean:.2f}")
            if step % 200 == 199:
                torch.save({"m": model.state_dict()}, runs / "pretrained.pt")
    torch.save({"m": model.state_dict()}, runs / "pretrained.pt")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    pretrain(given.runs, given.steps, given.threads, given.seed)


if __name__ == "__main__":
    main()
