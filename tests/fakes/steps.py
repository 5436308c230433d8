"""One step of a model over sequences that each have blocks of their own."""

import torch

from kogpt_bot.generation.attention import Segment
from kogpt_bot.generation.extents import runs
from kogpt_bot.generation.kv_blocks import BLOCK, blocks_of


def step(model, store, parts):
    """Run one step over (table of blocks, token ids, start) and return the logits of every row."""
    segments, tokens, positions, slots = [], [], [], []
    for table, ids, start in parts:
        segments.append(Segment(table, runs(table), len(tokens), len(ids), start, len(ids)))
        tokens += ids
        at = range(start, start + len(ids))
        positions += at
        slots += [table[n // BLOCK] * BLOCK + n % BLOCK for n in at]
    flat = (torch.tensor(each) for each in (tokens, positions, slots))
    return model.forward(store, *flat, segments)


def eager(work):
    """Stand in for CUDA graphs: what is recorded is done again by doing it again."""

    def replay():
        for _ in work():
            pass

    replay()
    return replay


def run(model, ids):
    """Return the logits of every token of a prompt."""
    blocks = blocks_of(len(ids))
    return step(model, model.new_store(blocks), [(list(range(blocks)), ids, 0)])
