"""What an engine is asked in tests, and what comes of it."""

import torch

from kogpt_bot.generation.request import GenerationRequest
from tests.fakes.stepped import GREEDY


def request(ids, **fields):
    return GenerationRequest("r", ids, **({"params": GREEDY, "max_tokens": 12} | fields))


async def chunks(engine, asked):
    return [chunk async for chunk in engine.generate(asked)]


async def tokens(engine, asked):
    return [each for chunk in await chunks(engine, asked) for each in chunk.token_ids]


def wanted(oracle, ids, count):
    """Return the tokens that transformers' own generate gives."""
    made = oracle.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=3,
    )
    return made[0, len(ids) :].tolist()
