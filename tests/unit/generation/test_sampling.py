"""Sampling against transformers' own logits processors, alone and combined."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from kogpt_bot.generation.request import SamplingParams
from kogpt_bot.generation.sampling import SamplingState, filtered, penalised, sample

VOCABULARY = 97


def reference(logits, tokens, p):
    """Return the distribution that transformers would draw from."""
    processors = LogitsProcessorList()
    if p.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(p.repetition_penalty))
    if p.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(p.no_repeat_ngram_size))
    if p.temperature != 1:
        processors.append(TemperatureLogitsWarper(p.temperature))
    if p.top_k:
        processors.append(TopKLogitsWarper(min(p.top_k, VOCABULARY)))
    if p.top_p < 1:
        processors.append(TopPLogitsWarper(p.top_p))
    if p.min_p:
        processors.append(MinPLogitsWarper(p.min_p))
    if p.typical_p < 1:
        processors.append(TypicalLogitsWarper(p.typical_p))
    return processors(torch.tensor([tokens]), logits.clone().unsqueeze(0))[0].softmax(-1)


def ours(logits, tokens, params):
    """Return our distributions of a batch."""
    states = [SamplingState(p, VOCABULARY, t) for p, t in zip(params, tokens, strict=True)]
    values, ids = penalised(logits, states, tokens).sort(dim=-1, descending=True)
    probabilities = filtered(values, params).softmax(dim=-1)
    return torch.zeros_like(logits).scatter(1, ids, probabilities)


def logits_and_tokens(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, VOCABULARY, generator=generator) * 3
    tokens = torch.randint(0, VOCABULARY, (rows, 30), generator=generator)
    tokens[:, 20:] = tokens[:, 5:15]  # so that n-grams repeat
    return logits, tokens.tolist()


ALONE = [
    {"temperature": 0.3},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000},
    {"top_p": 0.05},
    {"top_p": 0.9},
    {"min_p": 0.1},
    {"typical_p": 0.2},
    {"typical_p": 0.95},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 3},
]


@pytest.mark.parametrize("fields", ALONE, ids=str)
def test_each_parameter_alone_is_transformers(fields):
    logits, tokens = logits_and_tokens(4, 1)
    params = [SamplingParams(**fields)] * 4
    wanted = torch.stack([reference(logits[n], tokens[n], params[n]) for n in range(4)])
    torch.testing.assert_close(ours(logits, tokens, params), wanted, atol=1e-5, rtol=1e-4)


some_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.5, 0.8, 1.0, 1.7]),
    top_k=st.sampled_from([0, 0, 3, 40]),
    top_p=st.sampled_from([1.0, 0.5, 0.93]),
    min_p=st.sampled_from([0.0, 0.02]),
    typical_p=st.sampled_from([1.0, 0.8]),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
    no_repeat_ngram_size=st.sampled_from([0, 2]),
)


@settings(max_examples=60, deadline=None)
@given(params=st.lists(some_params, min_size=1, max_size=6), seed=st.integers(0, 999))
def test_rows_with_parameters_of_their_own_are_transformers_row_by_row(params, seed):
    logits, tokens = logits_and_tokens(len(params), seed)
    wanted = torch.stack([reference(logits[n], tokens[n], each) for n, each in enumerate(params)])
    torch.testing.assert_close(ours(logits, tokens, params), wanted, atol=1e-4, rtol=1e-3)


def draw(logits, params, count):
    """Return how often each token is drawn."""
    state = SamplingState(params, VOCABULARY, [0])
    counts = torch.zeros(VOCABULARY)
    for _ in range(count // 500):
        for token in sample(logits.expand(500, -1), [state] * 500, [[0]] * 500):
            counts[token] += 1
    return counts


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(seed=1),
        SamplingParams(seed=2, temperature=0.6, top_k=20, top_p=0.9),
        SamplingParams(seed=3, temperature=1.3, min_p=0.02),
    ],
    ids=["plain", "k and p", "min p"],
)
def test_draws_follow_the_distribution(params):
    """Chi-squared over 20,000 draws; the limit is that of p = 0.0001."""
    logits, _ = logits_and_tokens(1, 5)
    wanted = reference(logits[0], [0], params) * 20_000
    counts = draw(logits, params, 20_000)
    assert counts[wanted == 0].sum() == 0
    common = wanted >= 5
    statistic = float(((counts - wanted)[common] ** 2 / wanted[common]).sum())
    freedom = int(common.sum()) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5 + 8


def test_greedy_takes_the_likeliest_whatever_stands_beside_it():
    logits, tokens = logits_and_tokens(3, 9)
    params = [SamplingParams(temperature=0), SamplingParams(seed=1), SamplingParams(temperature=0)]
    states = [SamplingState(p, VOCABULARY, t) for p, t in zip(params, tokens, strict=True)]
    chosen = sample(logits, states, tokens)
    assert [chosen[0], chosen[2]] == logits[[0, 2]].argmax(-1).tolist()


def test_a_seed_gives_the_same_tokens_in_any_company():
    logits, tokens = logits_and_tokens(5, 3)
    params = SamplingParams(seed=42, top_p=0.95)

    def run(rows):
        states = {row: SamplingState(SamplingParams(seed=row), VOCABULARY, [0]) for row in rows}
        states[2] = SamplingState(params, VOCABULARY, [0])
        found = []
        for _ in range(20):
            chosen = sample(logits[rows], [states[r] for r in rows], [tokens[r] for r in rows])
            found.append(chosen[rows.index(2)])
        return found

    assert run([2]) == run([0, 2, 4]) == run([4, 3, 2, 1])
    assert len(set(run([2]))) > 3


def test_openai_penalties_count_the_output_only():
    logits = torch.zeros(1, VOCABULARY)
    params = SamplingParams(presence_penalty=0.5, frequency_penalty=0.25)
    state = SamplingState(params, VOCABULARY, [7, 7, 7])
    for token in (3, 3, 4):
        state.add(token)
    found = penalised(logits, [state], [[7, 7, 7, 3, 3, 4]])[0]
    assert found[[7, 3, 4]].tolist() == [0.0, -1.0, -0.75]


def test_penalties_leave_the_models_logits_alone():
    logits, tokens = logits_and_tokens(1, 4)
    before = logits.clone()
    state = SamplingState(SamplingParams(repetition_penalty=2.0), VOCABULARY, tokens[0])
    sample(logits, [state], tokens)
    assert torch.equal(logits, before)
