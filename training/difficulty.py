"""How well a model has learned each family, so that the last stage repeats what it has not.

Every family's first answer is looked at once: how many nats it costs beyond the choice among its
wordings. `polish` draws families by these weights, the worst about seven times as often as the
best.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from kogpt_bot.conversation import transcript
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from training.encoding import EOS
from training.families import BOT, Family, families
from training.model import Model

BATCH = 64
LEAST = 0.5  # weight of what is learned; a nat that it costs adds a quarter, up to
MOST_NATS = 12.0


def nats(model: Model, tokenizer: Tokenizer, asked: Sequence[Family]) -> Iterator[float]:
    """Give what the first answer of each family costs, beyond the choice among its wordings."""
    header = transcript.header(DEFAULT_PERSONA)
    for begin in range(0, len(asked), BATCH):
        part = asked[begin : begin + BATCH]
        rows, counts = [], []
        for number, family in enumerate(part, start=begin):
            turns = family.dialogue(random.Random(number))
            end = [who for who, _ in turns].index(BOT)
            said = "".join(transcript.line("민수", text) for _, text in turns[:end])
            prompt = header + said + transcript.cue(DEFAULT_PERSONA.name)
            ids = tokenizer.encode(prompt, add_special_tokens=False).ids
            answer = tokenizer.encode(f" {turns[end][1]}", add_special_tokens=False).ids
            rows.append(torch.tensor([*ids, *answer, EOS]))
            counts.append(len(answer) + 1)
        batch = pad_sequence(rows, batch_first=True)
        with torch.inference_mode():
            hidden = model.hidden(batch[:, :-1])
            for row, ids, count, family in zip(hidden, rows, counts, part, strict=True):
                at = row[len(ids) - 1 - count : len(ids) - 1]
                losses = F.cross_entropy(
                    F.linear(at, model.wte.weight, model.hb), ids[-count:], reduction="sum"
                )
                choices = len(family.lines[family.speakers.index(BOT)])
                yield float(losses) - math.log(choices)


def weights(costs: Sequence[float]) -> list[float]:
    """Return how often each is drawn, in relation to the others."""
    return [round(LEAST + min(max(cost, 0.0), MOST_NATS) / 4, 3) for cost in costs]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="of the stage before")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    model = Model()
    model.load_state_dict(torch.load(given.state, weights_only=True)["model"])
    asked = families()
    found = nats(model, Tokenizer.from_file(str(given.tokenizer)), asked)
    costs = list(tqdm(found, total=len(asked)))
    given.out.write_text(json.dumps(weights(costs)))
    share = sum(cost < 2 for cost in costs) / len(costs)
    print(
        f"{len(costs)} families, {sum(costs) / len(costs):.2f} nats an answer; {share:.0%} under 2"
    )


if __name__ == "__main__":
    main()
