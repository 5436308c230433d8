"""Sampling against transformers' own logits processors, alone and combined."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.generation import sampling
from kogpt_bot.generation.candidates import weights_of
from kogpt_bot.generation.penalties import SamplingState, penalised
from kogpt_bot.generation.request import SamplingParams
from kogpt_bot.generation.sampling import Way, sample
from tests.fakes.processors import distribution

VOCABULARY = 97


OUTPUT = 12  # tokens of a row that we take for its output


def reference(logits, tokens, params):
    """Return the distributions of a batch that transformers would draw from."""
    rows = zip(logits, tokens, params, strict=True)
    return torch.stack([distribution(x, t[:-OUTPUT], t[-OUTPUT:], p).float() for x, t, p in rows])


def ours(logits, tokens, params):
    """Return our distributions of a batch."""
    states = [
        SamplingState(p, VOCABULARY, t[:-OUTPUT]) for p, t in zip(params, tokens, strict=True)
    ]
    for state, row in zip(states, tokens, strict=True):
        for token in row[-OUTPUT:]:
            state.add(token)
    values, ids = penalised(logits, states).sort(dim=-1, descending=True)
    weights = torch.from_numpy(weights_of(values.double().numpy(), params))
    return torch.zeros_like(logits).scatter(1, ids, (weights / weights.sum(-1, True)).float())


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
    {"presence_penalty": 0.75},
    {"presence_penalty": -1.5},
    {"frequency_penalty": 0.5},
    {"frequency_penalty": -0.5},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 3},
]


@pytest.mark.parametrize("fields", ALONE, ids=str)
def test_each_parameter_alone_is_transformers(fields):
    logits, tokens = logits_and_tokens(4, 1)
    params = [SamplingParams(**fields)] * 4
    wanted = reference(logits, tokens, params)
    torch.testing.assert_close(ours(logits, tokens, params), wanted, atol=1e-5, rtol=1e-4)


some_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.5, 0.8, 1.0, 1.7]),
    top_k=st.sampled_from([0, 0, 3, 40]),
    top_p=st.sampled_from([1.0, 0.5, 0.93]),
    min_p=st.sampled_from([0.0, 0.02]),
    typical_p=st.sampled_from([1.0, 0.8]),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
    presence_penalty=st.sampled_from([0.0, 0.75]),
    frequency_penalty=st.sampled_from([0.0, -0.5]),
    no_repeat_ngram_size=st.sampled_from([0, 2]),
)


@settings(max_examples=60, deadline=None)
@given(params=st.lists(some_params, min_size=1, max_size=6), seed=st.integers(0, 999))
def test_rows_with_parameters_of_their_own_are_transformers_row_by_row(params, seed):
    logits, tokens = logits_and_tokens(len(params), seed)
    wanted = reference(logits, tokens, params)
    torch.testing.assert_close(ours(logits, tokens, params), wanted, atol=1e-4, rtol=1e-3)


def test_greedy_takes_the_likeliest_whatever_stands_beside_it():
    logits, tokens = logits_and_tokens(3, 9)
    params = [SamplingParams(temperature=0), SamplingParams(seed=1), SamplingParams(temperature=0)]
    states = [SamplingState(p, VOCABULARY, t) for p, t in zip(params, tokens, strict=True)]
    chosen = sample(logits, states)
    assert [chosen[0], chosen[2]] == logits[[0, 2]].argmax(-1).tolist()


def test_a_seed_gives_the_same_tokens_in_any_company():
    logits, _ = logits_and_tokens(5, 3)
    params = SamplingParams(seed=42, top_p=0.95)

    def run(rows):
        states = {row: SamplingState(SamplingParams(seed=row), VOCABULARY, [0]) for row in rows}
        states[2] = SamplingState(params, VOCABULARY, [0])
        found = []
        for _ in range(20):
            chosen = sample(logits[rows], [states[r] for r in rows])
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
    found = penalised(logits, [state])[0]
    assert found[[7, 3, 4]].tolist() == [0.0, -1.0, -0.75]


def test_penalties_leave_the_models_logits_alone():
    logits, tokens = logits_and_tokens(1, 4)
    before = logits.clone()
    state = SamplingState(SamplingParams(repetition_penalty=2.0), VOCABULARY, tokens[0])
    sample(logits, [state])
    assert torch.equal(logits, before)


WIDE = 17_000  # few enough to be sorted quickly, and more than are sorted whole


def wide_logits(rows, seed, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, WIDE, generator=generator) * scale


WAYS = [
    SamplingParams(temperature=0.9, top_k=50),
    SamplingParams(temperature=0.9, top_k=63, top_p=0.8, min_p=0.01, typical_p=0.9),
    SamplingParams(temperature=0.9, top_k=64),
    SamplingParams(temperature=1.1, top_k=500, top_p=0.95),
    SamplingParams(temperature=0.8, top_k=900),
    SamplingParams(temperature=0.5, top_p=0.9),  # within the candidates
    SamplingParams(temperature=3.0, top_p=0.9),  # far beyond them
    SamplingParams(temperature=0.7, min_p=0.05),
    SamplingParams(temperature=3.0, min_p=1e-9),
    SamplingParams(temperature=3.0, top_p=0.99, min_p=0.2),
    SamplingParams(temperature=1.0, typical_p=0.7),
    SamplingParams(temperature=1.0, repetition_penalty=1.4, top_k=20, no_repeat_ngram_size=2),
]


@pytest.mark.parametrize("seed", range(3))
def test_looking_at_candidates_only_gives_what_sorting_everything_gives(monkeypatch, seed):
    logits = wide_logits(len(WAYS), seed)
    prompts = [torch.randint(0, WIDE, (50,)).tolist() for _ in WAYS]

    def draw_some():
        states = [
            SamplingState(dataclasses.replace(p, seed=seed), WIDE, ids)
            for p, ids in zip(WAYS, prompts, strict=True)
        ]
        return [sample(logits, states) for _ in range(6)]

    found = draw_some()
    monkeypatch.setattr(sampling, "_way", lambda params, vocabulary: Way.SORT)
    assert found == draw_some()


BAD = {
    "one NaN": lambda row: row.index_fill_(0, torch.tensor([7]), float("nan")),
    "all NaN": lambda row: row.fill_(float("nan")),
    "one infinite": lambda row: row.index_fill_(0, torch.tensor([7]), float("inf")),
    "nothing possible": lambda row: row.fill_(float("-inf")),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
@pytest.mark.parametrize("vocabulary", [VOCABULARY, WIDE])
def test_a_row_that_is_not_finite_leaves_its_neighbours_alone(vocabulary, spoil):
    params = [*WAYS, SamplingParams(), SamplingParams(temperature=0)]
    logits = wide_logits(len(params), 4)[:, :vocabulary].contiguous()

    def run():
        states = [
            SamplingState(dataclasses.replace(each, seed=3), vocabulary, [1, 2]) for each in params
        ]
        return sample(logits, states)

    whole = run()
    for row in range(len(params)):
        kept = logits[row].clone()
        spoil(logits[row])
        found = run()
        logits[row] = kept
        assert 0 <= found[row] < vocabulary
        assert found[:row] + found[row + 1 :] == whole[:row] + whole[row + 1 :]


def test_each_way_is_taken():
    ways = {
        sampling._way(p, WIDE) for p in [*WAYS, SamplingParams(), SamplingParams(temperature=0)]
    }
    assert ways == set(Way)


def test_equals_of_the_last_of_the_k_are_kept_as_transformers_keeps_them():
    logits = torch.full((1, WIDE), -5.0)
    logits[0, 100:400] = 2.0  # 300 equals, k is 50
    state = SamplingState(SamplingParams(top_k=50, seed=1), WIDE, [])
    drawn = set(sample(logits.expand(600, -1), [state] * 600))
    assert drawn <= set(range(100, 400))
    assert len(drawn) > 200


@pytest.mark.parametrize("vocabulary", [WIDE, WIDE + 7, 97, 2049])
def test_the_largest_are_found(vocabulary):
    logits = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sampling._likeliest(logits), logits.argmax(-1))
    count = min(64, vocabulary // 32)
    values, ids = sampling._largest(logits, count)
    assert torch.equal(values, logits.topk(count).values)
    assert torch.equal(logits.gather(1, ids), values)


def test_a_row_draws_the_same_whatever_ways_its_neighbours_go():
    logits = wide_logits(len(WAYS), 9)

    def run(rows):
        states = [SamplingState(dataclasses.replace(WAYS[r], seed=r), WIDE, [1, 2]) for r in rows]
        return dict(zip(rows, sample(logits[rows], states), strict=True))

    together = run(list(range(len(WAYS))))
    for row in range(len(WAYS)):
        assert run([row]) == {row: together[row]}


@pytest.mark.parametrize("vocabulary", [VOCABULARY, WIDE, 2048])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_sum_of_a_row_is_finite_if_all_of_it_is(vocabulary, value):
    logits = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(1)) * 1e4
    torch.testing.assert_close(sampling.row_sums(logits), logits.sum(dim=-1), atol=1, rtol=1e-4)
    logits[1, vocabulary - 1] = value
    assert sampling.row_sums(logits).isfinite().tolist() == [True, False, True]
    logits[1, 0] = -value
    assert sampling.row_sums(logits).isfinite().tolist() == [True, False, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("vocabulary", [WIDE, WIDE - WIDE % 1024, VOCABULARY])
def test_a_gpu_draws_what_a_processor_draws(vocabulary, seed):
    params = [*WAYS, SamplingParams(temperature=0), SamplingParams(), SamplingParams(top_k=1)]
    logits = wide_logits(len(params), seed)[:, :vocabulary].contiguous()
    prompts = [[token % vocabulary for token in range(seed, 9_000, 300)] for _ in params]

    def draw_on(device):
        given_there, drawn = logits.to(device), []
        states = [
            SamplingState(dataclasses.replace(each, seed=seed), vocabulary, ids)
            for each, ids in zip(params, prompts, strict=True)
        ]
        for _ in range(6):
            drawn.append(sample(given_there, states))
            for state, token in zip(states, drawn[-1], strict=True):
                state.add(token)
        return drawn

    assert draw_on("cuda") == draw_on("cpu")
