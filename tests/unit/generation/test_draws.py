"""Draws follow the distribution of transformers' logits processors: chi-squared over 20,000 each.

A vocabulary of 97 is always sorted; one of 17,024 is drawn from in every way that KoGPT's is.
"""

import functools

import pytest
import torch

from kogpt_bot.generation import sampling
from kogpt_bot.generation.penalties import SamplingState
from kogpt_bot.generation.request import SamplingParams
from kogpt_bot.generation.sampling import Way, sample
from tests.fakes.processors import distribution

DRAWS = 20_000
ROWS = 50  # of one call: more leave the near cache
SMALL, WIDE = 97, 17_024  # the second comes out even in chunks, as KoGPT's 64,512 does
PENALTIES = {
    "repetition_penalty": 1.25, "presence_penalty": 0.5, "frequency_penalty": 0.25,
    "no_repeat_ngram_size": 2,
}  # fmt: skip


@functools.cache
def given(vocabulary):
    """Return the logits [vocabulary] of a next token, a prompt and an output: both hold likely
    tokens, some of them often, and the first tokens of the output follow the last once more."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(vocabulary, generator=generator) * (2.0 if vocabulary == SMALL else 4.0)
    likely = logits.topk(24).indices.tolist()
    prompt = torch.randint(0, vocabulary, (20,), generator=generator).tolist() + likely[12:18]
    output = [likely[n] for n in (3, 0, 5, 0, 7, 3, 2, 0, 5, 1, 3, 5, 5, 18, 3)]
    return logits, prompt, output


def drawn(params, vocabulary):
    """Return how often each token is drawn, and how often it should be."""
    logits, prompt, output = given(vocabulary)
    state = SamplingState(params, vocabulary, prompt)
    for token in output:
        state.add(token)
    rows, states = logits.expand(ROWS, -1), [state] * ROWS
    tokens = [token for _ in range(DRAWS // ROWS) for token in sample(rows, states)]
    counts = torch.bincount(torch.tensor(tokens), minlength=vocabulary)
    return counts, distribution(logits, prompt, output, params) * DRAWS


def check(counts, wanted):
    """Chi-squared; the limit is that of p = 0.0001. What is expected less than five times is
    looked at together."""
    assert counts.sum() == DRAWS
    assert counts[wanted == 0].sum() == 0, "what is excluded was drawn"
    common = wanted >= 5
    found = torch.cat([counts[common], counts[~common].sum(0, keepdim=True)])
    wanted = torch.cat([wanted[common], wanted[~common].sum(0, keepdim=True)])
    if wanted[-1] < 5:
        found, wanted = found[:-1], wanted[:-1]
    statistic = float(((found - wanted) ** 2 / wanted).sum())
    freedom = len(wanted) - 1
    assert freedom >= 3
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5 + 8


@pytest.mark.parametrize(
    "fields",
    [
        {"min_p": 0.02},
        {"typical_p": 0.8},
        {"repetition_penalty": 1.5},
        {"presence_penalty": 1.5},
        {"frequency_penalty": 0.75},
        {"no_repeat_ngram_size": 2},
        {"temperature": 0.6, "top_k": 20, "top_p": 0.9},
        {"temperature": 1.3, "min_p": 0.02, "typical_p": 0.9} | PENALTIES,
    ],
    ids=str,
)
def test_draws_from_a_small_vocabulary(fields):
    check(*drawn(SamplingParams(seed=1, **fields), SMALL))


@pytest.mark.parametrize(
    ("way", "fields"),
    [
        (Way.FEW, {"top_k": 40}),
        (Way.FEW, {"top_k": 60, "top_p": 0.97, "min_p": 0.01, "typical_p": 0.97} | PENALTIES),
        (Way.MANY, {"top_p": 0.8}),
        (Way.MANY, {"temperature": 0.8, "top_p": 0.95, "min_p": 1e-3} | PENALTIES),
        (Way.ALL, {"temperature": 0.7}),
        (Way.ALL, {"temperature": 1.2} | PENALTIES),
        (Way.SORT, {"temperature": 1.2, "top_k": 900}),
    ],
    ids=str,
)
def test_draws_from_a_wide_vocabulary(monkeypatch, way, fields):
    taken, choose = set(), sampling._choose

    def watched(way, logits, states):
        taken.add(way)
        return choose(way, logits, states)

    monkeypatch.setattr(sampling, "_choose", watched)
    check(*drawn(SamplingParams(seed=1, **fields), WIDE))
    assert taken == {way}
