"""A stage of training: sequences of text and of talk, a rate that falls, a state to resume from."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

from training.chats import ChatSource
from training.encoding import EOS, LENGTH, batch
from training.machine import this_machine
from training.model import Model
from training.optimiser import Optimiser
from training.packed import PackedText

Tensors = tuple[Tensor, ...]

ROWS = 16  # sequences a step: 4,096 tokens
SAVE = 50  # steps between two states on disk
LOOK = 50  # steps between two looks at what is held out
HELD_ROWS = 32  # sequences of held-out text that a look takes in


@dataclass(frozen=True, slots=True)
class Stage:
    """What is learned and how fast; pairs are the values at first and at last."""

    steps: int
    plain: tuple[float, float]  # share of the sequences that are plain text
    families: tuple[float, float]  # share of the dialogues that are of the families
    rate: tuple[float, float]  # share of the full learning rate
    warm_up: int = 50  # steps

    def at(self, pair: tuple[float, float], step: int) -> float:
        """Return the value of a pair at a step, in a straight line."""
        first, last = pair
        return first + (last - first) * step / max(1, self.steps - 1)


# The language first, at a rate that stays up; then the manner of talking; at last our own dialogues
# more than anything else, while the rate falls to nothing.
STAGES = {
    "pretrain": Stage(4000, plain=(0.9, 0.5), families=(0.3, 0.3), rate=(1.0, 1.0)),
    "tune": Stage(2000, plain=(0.15, 0.05), families=(0.7, 0.85), rate=(0.8, 0.6)),
    "polish": Stage(1500, plain=(0.05, 0.0), families=(0.85, 0.9), rate=(0.6, 0.01)),
}


class Training:
    """One stage, from `start` (or where the state on disk says) to its last step."""

    def __init__(self, name: str, stage: Stage, given: argparse.Namespace) -> None:
        torch.manual_seed(given.seed)
        self._stage, self._runs, self._machine = stage, given.runs, this_machine(given.threads)
        self._state, self._log = given.runs / f"{name}.pt", given.runs / f"{name}.jsonl"
        self._tokenizer = Tokenizer.from_file(str(given.runs / "tokenizer.json"))
        self._model = Model().to(self._machine.device)
        self._optimiser = Optimiser(self._model)
        self._chats = ChatSource(given.corpus, given.seed)
        self._texts = PackedText(given.runs / "pretrain.bin", LENGTH, given.seed)
        self._held = self._held_out()
        self._step, self._seconds = self._begin(given.start)

    def run(self) -> None:
        """Take the steps that are left; a process that ends in between loses `SAVE` at most."""
        begun, mean = time.monotonic() - self._seconds, None
        bar = tqdm(total=self._stage.steps, initial=self._step)
        while self._step < self._stage.steps:
            loss = self._advance()
            mean = loss if mean is None else 0.97 * mean + 0.03 * loss
            self._step += 1
            self._seconds = time.monotonic() - begun
            bar.update()
            if self._step % LOOK == 0 or self._step == self._stage.steps:
                row = self._row(mean)
                bar.set_postfix(loss=row["loss"], text=row["text"], chat=row["chat"])
            if self._step % SAVE == 0 or self._step == self._stage.steps:
                self._save()

    def _advance(self) -> float:
        stage, step = self._stage, self._step
        self._chats.mix = replace(self._chats.mix, families=stage.at(stage.families, step))
        plain = round(ROWS * stage.at(stage.plain, step))
        parts: list[Tensors] = [self._texts.batch(step * ROWS, plain)]
        if plain < ROWS:
            parts.append(batch(self._chats.at(step), self._tokenizer, ROWS - plain))
        with self._machine.autocast():
            loss = self._model.loss(*self._on_device(parts))
        self._optimiser.step(
            loss, min(1.0, (step + 1) / stage.warm_up) * stage.at(stage.rate, step)
        )
        return loss.item()

    def _on_device(self, parts: list[Tensors]) -> list[Tensor]:
        joined = (torch.cat(each) for each in zip(*parts, strict=True))
        return [each.to(self._machine.device) for each in joined]

    def _row(self, mean: float) -> dict[str, Any]:
        with torch.no_grad(), self._machine.autocast():
            held = {name: float(self._model.loss(*each)) for name, each in self._held.items()}
        row = {
            "step": self._step,
            "tokens": self._step * ROWS * LENGTH,
            "loss": round(mean, 3),
            **{name: round(loss, 3) for name, loss in held.items()},
            "minutes": round(self._seconds / 60, 1),
        }
        with self._log.open("a") as log:
            log.write(json.dumps(row) + "\n")
        return row

    def _held_out(self) -> dict[str, list[Tensor]]:
        """Return what is never trained on: texts of the corpus, and dialogues of our own."""
        with (self._runs / "held_out.jsonl").open(encoding="utf-8") as file:
            texts = [json.loads(row)["text"] for row in file]
        ids = [token for text in texts for token in (*self._tokenizer.encode(text).ids, EOS)]
        rows = min(HELD_ROWS, (len(ids) - 1) // LENGTH)
        if not rows:
            raise ValueError(f"held_out.jsonl holds fewer than {LENGTH + 1} tokens")
        step = (len(ids) - 1) // rows
        cut = torch.tensor([ids[n * step : n * step + LENGTH + 1] for n in range(rows)])
        chats = batch(ChatSource(None, 1, held_out=True), self._tokenizer, 16)
        return {
            "text": self._on_device([(cut[:, :-1], cut[:, 1:])]),
            "chat": self._on_device([chats]),
        }

    def _begin(self, start: Path | None) -> tuple[int, float]:
        if self._state.is_file():
            state = torch.load(self._state, map_location=self._machine.device, weights_only=True)
            self._model.load_state_dict(state["model"])
            self._optimiser.load_state_dict(state["optimiser"])
            return int(state["step"]), float(state["seconds"])
        self._log.unlink(missing_ok=True)
        if start is not None and start.is_dir():
            self._model.load_checkpoint(load_file(start / "model.safetensors"))
        elif start is not None:
            state = torch.load(start, map_location=self._machine.device, weights_only=True)
            self._model.load_state_dict(state["model"])
        return 0, 0.0

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self._step,
            "seconds": self._seconds,
        }
        whole = self._state.with_suffix(".part")
        torch.save(state, whole)
        whole.replace(self._state)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to begin with: a folder or a state")
    parser.add_argument("--steps", type=int, help="4,096 tokens each; the stage's own if not given")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    stage = STAGES[given.stage]
    Training(given.stage, replace(stage, steps=given.steps or stage.steps), given).run()


if __name__ == "__main__":
    main()
