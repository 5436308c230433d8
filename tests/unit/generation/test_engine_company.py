"""Greedy tokens are transformers' whatever else is in the batch."""

import asyncio
import collections
from contextlib import aclosing

import pytest
import torch

from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.request import FinishReason, GenerationRequest, SamplingParams
from tests.fakes.stepped import GREEDY, prompt

KINDS = {
    "sampled": {"params": SamplingParams(seed=1, temperature=1.4)},
    "sampled and penalised": {"params": SamplingParams(seed=2, top_k=30, repetition_penalty=1.5)},
    "greedy, counted": {
        "params": SamplingParams(temperature=0, presence_penalty=2.0, frequency_penalty=1.0)
    },
    "greedy, nothing twice": {"params": SamplingParams(temperature=0, no_repeat_ngram_size=1)},
    "sampled, scored": {"params": SamplingParams(seed=3, typical_p=0.8), "logprobs": 2},
    "scored prompt": {"echo": True, "logprobs": 3, "max_tokens": 0},
    "scored prompt, sampled": {"echo": True, "logprobs": 0, "params": SamplingParams(seed=4)},
}


@pytest.fixture
async def engine(small):
    engine = Engine(small, max_sequences=6, step_tokens=32, cache_tokens=1024)
    engine._scheduler._max_waiting = 1000
    await engine.start()
    yield engine
    await engine.close()


def ask(engine, kind, ids, **fields):
    defaults = {"params": GREEDY, "max_tokens": 5, "ignore_eos": True}
    return engine.generate(GenerationRequest(kind, ids, **(defaults | fields)))


async def greedy(engine, number, ids):
    """Return the tokens that follow a prompt."""
    stream = ask(engine, "greedy", ids, channel=str(number % 7))
    return [token async for chunk in stream for token in chunk.token_ids]


async def company(engine, number, ids):
    """Be answered in one way or another, or go away after the first token; return how it ended."""
    kind, reason = list(KINDS)[number % len(KINDS)], None
    async with aclosing(ask(engine, kind, ids, channel=str(number % 7), **KINDS[kind])) as stream:
        async for chunk in stream:
            reason = chunk.finish_reason
            if number % 3 == 0:
                break
    return reason


def wanted(oracle, ids):
    made = oracle.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=5,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=3,
    )
    return made[0, len(ids) :].tolist()


def companions(engine):
    """Return a count, by its kind, of what stands in a step beside greedy requests."""
    beside, plan = collections.Counter(), engine._scheduler.plan

    def watched():
        planned = plan()
        kinds = collections.Counter(each.request.id for each, _ in planned)
        if kinds["greedy"]:
            beside.update(kinds - collections.Counter(["greedy"]))
        return planned

    engine._scheduler.plan = watched
    return beside


async def test_greedy_tokens_are_transformers_for_200_prompts_in_any_company(engine, oracle):
    beside = companions(engine)
    prompts = [prompt(1 + n * 7 % 90, n) for n in range(200)]
    others = [(*ids[: n % 60], *prompt(9, 500 + n)) for n, ids in enumerate(prompts)]
    found, ends = [], []
    for n, (ids, other) in enumerate(zip(prompts, others, strict=True)):
        found.append(asyncio.create_task(greedy(engine, n, ids)))
        ends.append(asyncio.create_task(company(engine, n, other)))
    await found[0]  # by now all others are in the queue
    for each in ends[5::11]:
        each.cancel()
    assert await asyncio.gather(*found) == [wanted(oracle, ids) for ids in prompts]
    ends = await asyncio.gather(*ends, return_exceptions=True)
    assert {type(each) for each in ends} == {FinishReason, type(None), asyncio.CancelledError}
    assert set(beside) == {"greedy", *KINDS}
    assert engine.stats().failed == 0
