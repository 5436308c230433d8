"""Chat tuning: transcripts, with the loss on the bot's answers, which learn to end in [EOS]."""

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
from training.model import Model
from training.optimiser import Optimiser
from training.packed import PackedText

EOS = 1
LENGTH = 256  # tokens of a sequence
PLAIN_FIRST, PLAIN_LAST = 0.6, 0.15  # share of rows that are plain text, at first and at last
PEOPLE = 0.2  # weight of what people say: the language is still being learned
CHARS = 300  # of one transcript, about 200 tokens with the header


def encode(
    source: ChatSource, tokenizer: Tokenizer, length: int
) -> tuple[list[int], list[int], list[float]]:
    """Return tokens, labels and weights of one sequence [length].

    The label after the last token of an answer is [EOS], while the input goes on with the line
    break that the history has.
    """
    ids: list[int] = []
    labels: list[int] = []
    weights: list[float] = []
    while len(ids) - ids.count(-1) <= length:  # the marks are taken out again
        for text, whose in source.transcript(CHARS):
            piece = tokenizer.encode(text, add_special_tokens=False).ids
            ids += piece
            labels += piece
            weights += [{True: 1.0, False: PEOPLE, None: 0.0}[whose]] * len(piece)
            if whose:
                labels.append(EOS)  # stands where the line break's label would be
                weights.append(1.0)
                ids.append(-1)  # marks the place; the line break itself follows
        ids.append(EOS)
        labels.append(EOS)
        weights.append(0.0)
    return _shift(ids, labels, weights, length)


def _shift(
    ids: list[int], labels: list[int], weights: list[float], length: int
) -> tuple[list[int], list[int], list[float]]:
    """Return inputs and what follows each: at the end of an answer, the marked [EOS]."""
    inputs: list[int] = []
    following: list[int] = []
    shares: list[float] = []
    for at, token in enumerate(ids[:-1]):
        if token == -1:
            continue
        inputs.append(token)
        following.append(labels[at + 1])
        shares.append(weights[at + 1])
    return inputs[:length], following[:length], shares[:length]


def batch(source: ChatSource, tokenizer: Tokenizer, rows: int) -> tuple[torch.Tensor, ...]:
    """Return tokens, labels and weights, each [rows, LENGTH]."""
    made = [encode(source, tokenizer, LENGTH) for _ in range(rows)]
    tokens, labels, weights = zip(*made, strict=True)
    return torch.tensor(tokens), torch.tensor(labels), torch.tensor(weights)


def tune(arguments: argparse.Namespace) -> None:
    """Tune for `--minutes`; the learning rate falls to zero at their end."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    runs: Path = arguments.runs
    tokenizer = Tokenizer.from_file(str(runs / "tokenizer.json"))
    model = Model()
    state = torch.load(runs / arguments.start, weights_only=True)
    model.load_state_dict(state["m"])
    optimiser = Optimiser(model)
    source = ChatSource(arguments.corpus, arguments.seed)
    texts = PackedText(runs / "pretrain.bin", LENGTH, arguments.seed)
    held = [batch(ChatSource(None, 1, held_out=True), tokenizer, 8) for _ in range(2)]
    begun, limit, step, mean = time.monotonic(), arguments.minutes * 60, 0, 0.0
    with (runs / "tune.jsonl").open("w") as log, tqdm(total=int(limit), unit="s") as bar:
        while (spent := time.monotonic() - begun) < limit:
            warm = min(1.0, (step + 1) / 50)
            rate = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent / limit)))
            # Fewer and fewer rows of plain text: the language first, then the manner of talking.
            share = PLAIN_FIRST + (PLAIN_LAST - PLAIN_FIRST) * spent / limit
            plain = round(arguments.rows * share)
            mixed = zip(
                texts.batch(plain), batch(source, tokenizer, arguments.rows - plain), strict=True
            )
            tokens, labels, weights = (torch.cat(each) for each in mixed)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model.loss(tokens, labels, weights)
            optimiser.step(loss, rate)
            mean = loss.item() if not step else 0.97 * mean + 0.03 * loss.item()
            step += 1
            bar.update(int(spent) - bar.n)
            if step % 50 == 0:
                with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                    unseen = sum(float(model.loss(*each)) for each in held) / len(held)
                row = {
                    "step": step,
                    "loss": round(mean, 3),
                    "held_out": round(unseen, 3),
                    "tokens": step * arguments.rows * LENGTH,
                    "minutes": round(spent / 60, 1),
                }
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.set_postfix(loss=f"{mean:.2f}", held_out=f"{unseen:.2f}")
            if step % 200 == 0:
                torch.save({"m": model.state_dict()}, runs / "tuned.pt")
    torch.save({"m": model.state_dict()}, runs / "tuned.pt")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--start", default="pretrained.pt")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    tune(parser.parse_args())


if __name__ == "__main__":
    main()
