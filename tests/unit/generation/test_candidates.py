"""Candidates in numpy: the largest, ties, and the ends of a draw."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.generation import sampling
from kogpt_bot.generation.candidates import draw, likeliest_of, suffices
from kogpt_bot.generation.penalties import SamplingState
from kogpt_bot.generation.request import SamplingParams

ALMOST_ONE = 1 - 2**-53  # the largest that random.random() gives


@settings(max_examples=80, deadline=None)
@given(
    logits=st.lists(st.sampled_from([-3.0, 0.0, 1.5, 2.0, 7.25]), min_size=20, max_size=60),
    count=st.integers(1, 20),
)
def test_the_likeliest_are_those_of_a_stable_sort(logits, count):
    rows = np.array([logits, logits[::-1]], np.float32)
    values, ids = likeliest_of(rows, count)
    wanted = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    assert ids.tolist() == wanted.tolist()
    assert values.tolist() == np.take_along_axis(rows, wanted, axis=1).tolist()


def test_what_is_forbidden_is_not_among_the_likeliest_before_what_is_not():
    row = np.full((1, 40), -np.inf, np.float32)
    row[0, 30:] = np.arange(10)
    _, ids = likeliest_of(row, 12)
    assert ids[0, :10].tolist() == list(range(39, 29, -1))


@pytest.mark.parametrize("number", [0.0, 0.25, 0.999999, ALMOST_ONE])
def test_no_draw_falls_on_what_is_excluded(number):
    weights = np.array([[1.0, 0.5, 0.0, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    first, second = draw(weights, [number, number])
    assert weights[0, first] > 0
    assert second == 0


@pytest.mark.parametrize("number", [0.0, 0.3, 0.9999999, ALMOST_ONE])
@pytest.mark.parametrize("vocabulary", [97, 17_000, 64_512])
def test_no_draw_from_everything_falls_on_what_is_forbidden(vocabulary, number):
    class Fixed:
        def random(self):
            return number

    logits = torch.randn(4, vocabulary, generator=torch.Generator().manual_seed(3)) * 3
    forbidden = torch.rand(4, vocabulary, generator=torch.Generator().manual_seed(4)) < 0.6
    forbidden[:, :40] = forbidden[:, -40:] = True
    forbidden[3] = True
    forbidden[3, 41] = False
    logits[forbidden] = float("-inf")
    states = [SamplingState(SamplingParams(), vocabulary, []) for _ in range(4)]
    for state in states:
        state.random = Fixed()
    drawn = sampling._any(logits, states)
    assert not forbidden[torch.arange(4), drawn].any()
    assert drawn[3] == 41
    # The place is where the cumulated shares, in float64, pass the number.
    sums = logits.double().softmax(-1).cumsum(-1)
    for row, token in enumerate(drawn):
        assert sums[row, token] >= number - 1e-6
        assert token == 0 or sums[row, token - 1] <= number + 1e-6


def test_a_draw_at_the_end_of_a_weight_is_not_beyond_it():
    """Beside one that is much larger, a small weight's own sum is rounded."""
    weights = torch.randn(20_000, 9, generator=torch.Generator().manual_seed(1)).mul(12).exp()
    sums = weights.double().cumsum(-1)
    target = (sums[:, 4:5] / sums[:, -1:]).nextafter(torch.zeros(1, dtype=torch.float64))
    place, into = sampling._place(weights, target)
    assert (weights[torch.arange(20_000), place] > 0).all()
    assert (into >= 0).all()
    assert (into < 1).all()


@pytest.mark.parametrize("temperature", [5e-324, 1e-12, 1e-8])
@pytest.mark.parametrize("more", [{}, {"top_p": 0.9}, {"typical_p": 0.9}, {"top_k": 5}], ids=str)
def test_the_smallest_temperatures_take_the_likeliest(temperature, more):
    logits = torch.randn(2, 17_000, generator=torch.Generator().manual_seed(2)) * 100
    params = SamplingParams(temperature=temperature, seed=1, **more)
    states = [SamplingState(params, 17_000, []) for _ in range(2)]
    assert sampling.sample(logits, states) == logits.argmax(-1).tolist()


def test_a_share_that_rounding_may_have_made_is_not_enough():
    values = np.array([[2.0, 1.0, 0.0]])
    mass = np.exp(values - 2).sum(axis=1, keepdims=True)
    params = [SamplingParams(top_p=0.999_999_9)]
    assert not suffices(values, params, mass)[0]
    assert suffices(values, [SamplingParams(top_p=0.99)], mass)[0]
    assert not suffices(values, [SamplingParams(top_p=0.99)], 2 * mass)[0]


def test_equals_at_the_end_of_the_candidates_are_not_enough():
    values = np.array([[2.0, 1.0, 1.0], [2.0, 1.0, 0.5]])
    assert suffices(values, [SamplingParams(top_k=2)] * 2, None).tolist() == [False, True]
    # All equals of the k-th count, also for a top-p that would be content with the candidates.
    cut = [SamplingParams(top_k=2, top_p=0.2), SamplingParams(top_k=2, min_p=0.9)]
    mass = np.full((2, 1), np.exp(values[0] - 2).sum())
    assert not suffices(values[:1].repeat(2, axis=0), cut, mass).any()


PARAMS = {
    "typical_p": SamplingParams(temperature=0.7, typical_p=0.4),
    "top_p": SamplingParams(temperature=1.3, top_p=0.97),
    "top_k, top_p": SamplingParams(top_k=900, top_p=0.9),
    "min_p": SamplingParams(temperature=2.0, min_p=0.001),
    "all": SamplingParams(top_k=700, top_p=0.95, min_p=0.0005, typical_p=0.8),
}


def states_of(params, seed):
    return [
        SamplingState(dataclasses.replace(each, seed=seed + number), 20_000, [])
        for number, each in enumerate(params)
    ]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", PARAMS)
def test_rows_sorted_on_a_device_are_drawn_as_on_the_host(name, mixed):
    """Here both are the processor; a GPU's own test compares it with that."""
    logits = torch.randn(5, 20_000, generator=torch.Generator().manual_seed(5)) * 2
    logits[1] = logits[1].round()  # equals
    logits[2, 40:] = float("-inf")
    others = list(PARAMS.values()) if mixed else [PARAMS[name]] * 4
    for seed in range(0, 80, 10):
        drawn = [
            draws(logits, states_of([PARAMS[name], *others][:5], seed))
            for draws in (sampling._sorted_on_device, sampling._sorted)
        ]
        assert drawn[0] == drawn[1]


def test_a_row_of_nan_that_is_sorted_leaves_its_neighbours_alone():
    logits = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(6))
    logits[1] = float("nan")
    params = [SamplingParams(typical_p=0.5)] * 3
    with np.errstate(all="ignore"):
        drawn = sampling._sorted_on_device(logits, states_of(params, 1))
        alone = sampling._sorted(logits[[0, 2]], states_of(params, 1)[::2])
    assert [drawn[0], drawn[2]] == alone
