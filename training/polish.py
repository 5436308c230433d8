"""The last minutes of tuning: the families of dialogues more than anything else, at a low rate."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from training.chats import ChatSource
from training.families import families
from training.model import Model
from training.optimiser import Optimiser
from training.packed import PackedText
from training.templates import Turns
from training.tune import LENGTH, batch

ROWS, PLAIN = 16, 1  # of these 16 rows, one is plain text
FULL = 0.5  # share of the full learning rate
WARM_UP = 10  # steps


class FamilySource(ChatSource):
    """Half of the dialogues are of the families, the other half what tuning had."""

    def __init__(self, corpus: Path | None, seed: int) -> None:
        super().__init__(corpus, seed)
        self._families = families()

    def _dialogue(self) -> Turns:
        if self._rng.random() < 0.5:
            return self._rng.choice(self._families).dialogue(self._rng)
        return super()._dialogue()


def polish(runs: Path, corpus: Path, start: str, minutes: float, seed: int) -> None:
    """Go on from `start` for `minutes`; write `polished.pt`."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_file(str(runs / "tokenizer.json"))
    model = Model()
    model.load_state_dict(torch.load(runs / start, weights_only=True)["m"])
    optimiser = Optimiser(model)
    source, texts = FamilySource(corpus, seed), PackedText(runs / "pretrain.bin", LENGTH, seed)
    held = [batch(ChatSource(None, 1, held_out=True), tokenizer, 8) for _ in range(2)]
    begun, limit, step, mean = time.monotonic(), minutes * 60, 0, 0.0
    with (runs / "polish.jsonl").open("w") as log, tqdm(total=int(limit), unit="s") as bar:
        while (spent := time.monotonic() - begun) < limit:
            warm = min(1.0, (step + 1) / WARM_UP)
            rate = FULL * warm * 0.5 * (1 + math.cos(math.pi * spent / limit))
            mixed = zip(texts.batch(PLAIN), batch(source, tokenizer, ROWS - PLAIN), strict=True)
            tokens, labels, weights = (torch.cat(each) for each in mixed)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model.loss(tokens, labels, weights)
            optimiser.step(loss, rate)
            mean = loss.item() if not step else 0.97 * mean + 0.03 * loss.item()
            step += 1
            bar.update(int(spent) - bar.n)
            if step % 25 == 0:
                with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                    unseen = sum(float(model.loss(*each)) for each in held) / len(held)
                row = {"step": step, "loss": round(mean, 3), "held_out": round(unseen, 3),
                       "tokens": step * ROWS * LENGTH, "minutes": round(spent / 60, 1)}  # fmt: skip
                log.write(json.dumps(row) + "\n")
                log.flush()
    torch.save({"m": model.state_dict()}, runs / "polished.pt")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--start", default="tuned.pt")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seed", type=int, default=2)
    given = parser.parse_args()
    polish(given.runs, given.corpus, given.start, given.minutes, given.seed)


if __name__ == "__main__":
    main()
