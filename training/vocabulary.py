"""How large a vocabulary? Small models of the same number of parameters, one for each, compared.

A larger vocabulary makes fewer tokens of a text but takes its parameters from the layers. Tokens
of different vocabularies are not comparable, so the loss is given in bits a character.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm import trange

from training.encoding import EOS
from training.machine import this_machine
from training.model import Model, Size
from training.optimiser import Optimiser
from training.prepare import documents, train_tokenizer

# Width 192: 4.6M parameters either way, near the two thirds of layers that the bundled size keeps.
SIZES = (
    Size(vocabulary=8192, width=192, layers=7, heads=3, rotary=32),
    Size(vocabulary=16384, width=192, layers=3, heads=3, rotary=32),
)
LENGTH, ROWS, WARM_UP = 256, 16, 30


def tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return the texts end to end, an [EOS] after each."""
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return torch.tensor([token for each in encoded for token in (*each.ids, EOS)])


def compare(size: Size, texts: Sequence[str], held_out: Sequence[str], characters: int) -> None:
    """Train one model on the first `characters` of the texts and print what came of it."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(texts, size.vocabulary)
    model = Model(size)
    optimiser = Optimiser(model)
    ids, unseen = tokens(tokenizer, texts), tokens(tokenizer, held_out)
    per_token = sum(map(len, texts)) / len(ids)
    steps = round(characters / per_token / (LENGTH * ROWS))
    for step in (bar := trange(steps, desc=str(size.vocabulary))):
        rows = ids[step * LENGTH * ROWS :][: LENGTH * ROWS + 1]
        loss = model.loss(rows[:-1].view(ROWS, LENGTH), rows[1:].view(ROWS, LENGTH))
        optimiser.step(loss, min((step + 1) / WARM_UP, 1.0, (steps - step) / (steps / 2)))
        bar.set_postfix(loss=f"{loss.item():.2f}")
    unseen_loss = held_out_loss(model, unseen)
    of_text = sum(map(len, held_out)) / len(unseen)
    print(
        f"{size.vocabulary}: {sum(each.numel() for each in model.parameters()) / 1e6:.1f}M"
        f" parameters, {of_text:.2f} characters a token, {steps} steps,"
        f" held out {unseen_loss:.2f} nats a token,"
        f" {unseen_loss / math.log(2) / of_text:.3f} bits a character"
    )


@torch.no_grad()
def held_out_loss(model: Model, ids: torch.Tensor) -> float:
    """Return the mean loss in nats a token; some rows at a time, for the memory of their logits."""
    count = (len(ids) - 1) // LENGTH
    given = ids[: count * LENGTH].view(count, LENGTH)
    wanted = ids[1:][: count * LENGTH].view(count, LENGTH)
    total = 0.0
    for at in range(0, count, ROWS):
        rows = slice(at, at + ROWS)
        total += float(model.loss(given[rows], wanted[rows])) * len(given[rows])
    return total / count


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--characters", type=int, default=3_000_000)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    this_machine(given.threads)
    texts = documents(given.corpus, None, 0)
    held_out = [text for kept in texts.held_out.values() for text in kept]
    for size in SIZES:
        compare(size, texts.train, held_out, given.characters)


if __name__ == "__main__":
    main()
