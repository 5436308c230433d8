"""The product with int8 weights in compiled loops: exact sums, whatever shares the batch."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.generation import kernels, linear

pytest.importorskip("numba")


@pytest.fixture(scope="module", params=[1, 3], ids="{} threads".format)
def under_test(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "SHARE", 64)  # so that few rows and a small product are shared out
        patch.setattr(kernels, "PRODUCTS", 64)
        yield kernels.Kernels(request.param)


def random_product(outputs, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-127, 128, (outputs, size), generator=generator).to(torch.int8)
    bias = torch.randn(outputs, generator=generator)
    return weight, torch.rand(outputs, generator=generator), bias


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 210),
    outputs=st.integers(1, 200),
    size=st.one_of(st.integers(1, 200), st.sampled_from([1023, 1024, 1025, 2100])),
    loudness=st.sampled_from([1e-4, 1, 1e4]),
)
def test_it_is_what_whole_numbers_give_to_the_last_bit(under_test, rows, outputs, size, loudness):
    from kogpt_bot.generation import compiled_rounding

    weight, scales, bias = random_product(outputs, size, rows)
    asked = torch.randn(rows, size, generator=torch.Generator().manual_seed(size)) * loudness
    found = under_test.product(weight, scales, bias, 127)(asked)
    steps, by = np.empty((rows, size), np.int16), np.empty(rows, np.float32)
    largest = compiled_rounding.largest_step(size, 127)
    compiled_rounding.to_int16(asked.numpy(), steps, by, largest, 0, rows)
    steps, by = torch.from_numpy(steps).double(), torch.from_numpy(by).unsqueeze(1)
    assert ((steps * by - asked).abs() <= by * 0.51).all()  # float32 has 24 bits
    assert torch.equal(found, (steps @ weight.double().T).float() * by * scales + bias)
    alone = under_test.product(weight, scales, bias, 127)(asked[rows // 2 : rows // 2 + 1])
    assert torch.equal(alone[0], found[rows // 2])


@pytest.mark.parametrize("size", [96, 4096, 20_480])
def test_the_largest_numbers_add_up(under_test, size):
    weight = torch.full((8, size), 127, dtype=torch.int8)
    weight[1::2] = -127
    found = under_test.product(weight, torch.ones(8), torch.zeros(8), 127)(torch.ones(3, size))
    wanted = torch.tensor([127.0, -127.0] * 4).mul(size).expand(3, -1)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_row_with_nan_or_infinity_shows_it_and_no_other_does(under_test, value):
    weight, scales, bias = random_product(12, 40)
    multiply = under_test.product(weight, scales, bias, 127)
    asked = torch.randn(5, 40)
    whole = multiply(asked)
    asked[2, 7] = value
    found = multiply(asked)
    assert not found[2].isfinite().any()
    assert torch.equal(found[[0, 1, 3, 4]], whole[[0, 1, 3, 4]])


def test_a_row_of_zeros_gives_the_bias(under_test):
    weight, scales, bias = random_product(5, 33)
    found = under_test.product(weight, scales, bias, 127)(torch.zeros(2, 33))
    assert torch.equal(found, bias.expand(2, -1))


def test_a_step_without_rows_gives_none(under_test):
    weight, scales, bias = random_product(12, 40)
    assert under_test.product(weight, scales, bias, 127)(torch.empty(0, 40)).shape == (0, 12)


@pytest.mark.parametrize("outputs", [65, 68])  # one more than a part has, and a tile more
@pytest.mark.parametrize("kind", [linear.Int16RowsLinear, linear.PanelLinear])
def test_a_large_weight_whose_memory_is_given_back_was_copied(monkeypatch, kind, outputs):
    for module in (linear, kernels):
        monkeypatch.setattr(module, "PART_BYTES", 64 * 2048 * 4)
    weight, asked = torch.randn(outputs, 2048), torch.randn(3, 2048)
    wanted = asked @ weight.T
    kind = functools.partial(kind, kernels=kernels.Kernels(1))
    product = linear.in_parts(kind, weight, None, give_back=True)
    assert not weight.all()
    for rows in (slice(0, 1), slice(0, 3)):
        torch.testing.assert_close(product(asked[rows]), wanted[rows], atol=2, rtol=0)


def test_a_loud_number_leaves_the_others_their_place():
    """A thousand times the others: in 8 bits all of them would be nothing."""
    product = linear.Int16RowsLinear(torch.eye(64), kernels=kernels.Kernels(1))
    asked = torch.randn(3, 64)
    asked[:, 5] = 1000
    torch.testing.assert_close(product(asked)[:, 6:], asked[:, 6:], atol=0.02, rtol=0)


def test_it_is_used_where_numba_is_and_onednn_where_it_does_not_compile(monkeypatch):
    cpu = torch.device("cpu")
    found = kernels.find(torch.float32, cpu)
    kind = linear.prepare("int8", torch.float32, cpu, found)
    assert kind.func is linear.Int16RowsLinear
    assert linear.prepare("int8", torch.float32, cpu) is linear.Int8Linear

    def broken(*_):
        raise ValueError("no such instruction")

    monkeypatch.setattr(found, "product", broken)
    assert linear.prepare("int8", torch.float32, cpu, found) is linear.Int8Linear
    monkeypatch.setattr(found, "product", lambda weight, *_: lambda rows: rows @ weight.float().T)
    assert linear.prepare("int8", torch.float32, cpu, found) is linear.Int8Linear


def test_nothing_is_compiled_after_the_start():
    cpu = torch.device("cpu")
    found = kernels.find(torch.float32, cpu)
    kind = linear.prepare("int8", torch.float32, cpu, found)
    panels = linear.prepare("packed", torch.float32, cpu, found)
    loops = [found._rounding.to_int16, found._rounding.scale]
    loops += [found._loops.rotate, found._loops.gelu, found._panels.multiply]
    before = [len(loop.signatures) for loop in loops]
    for rows in (1, 2, 40):
        hidden, both = torch.randn(rows, 40), torch.empty(rows, 73)
        joined = kind(torch.randn(161, 40), torch.randn(161))(hidden)
        found.rotate(joined, torch.ones(rows, 4, dtype=torch.complex64), 5, 16)
        found.gelu(joined, both, 44)  # 161 = 3 x 44 + 29, 73 = 44 + 29
        panels(torch.randn(50, 40), torch.randn(50))(hidden)
    assert [len(loop.signatures) for loop in loops] == before


@pytest.mark.parametrize("rows", [1, 9])
def test_what_lies_between_the_products_is_torchs(under_test, rows):
    from kogpt_bot.generation.operators import TorchOperators

    results, width, generator = [], 48, torch.Generator().manual_seed(rows)
    given = torch.randn(rows, 3 * width + 100, generator=generator) * 5
    turns = torch.polar(torch.ones(rows, 5), torch.randn(rows, 5, generator=generator))
    for operators in (under_test, TorchOperators()):
        joined, both = given.clone(), torch.full((rows, width + 100), 7.0)
        operators.rotate(joined, turns, 6, 16)
        operators.gelu(joined, both, width)
        results.append((joined, both))
    torch.testing.assert_close(*results, atol=2e-6, rtol=1e-5)
    assert (results[0][1][:, :width] == 7).all()
    assert torch.equal(results[0][0][:, 2 * width :], given[:, 2 * width :])
