"""The products: each near float32's, and a broken one is noticed and replaced."""

import pytest
import torch

from kogpt_bot.generation import linear
from kogpt_bot.generation.linear import KINDS, PlainLinear, Quantization, choose, prepare

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("dtype", "quantization", "kind"),
    [
        (torch.float32, Quantization.NONE, "packed"),
        (torch.bfloat16, Quantization.NONE, "packed"),
        (torch.float16, Quantization.NONE, "half"),
        (torch.float32, Quantization.INT8, "int8"),
    ],
)
def test_the_kind_follows_the_precision(dtype, quantization, kind):
    assert choose(dtype, CPU, quantization) == kind
    assert choose(dtype, torch.device("cuda"), Quantization.NONE) == "plain"
    assert choose(dtype, torch.device("cuda"), Quantization.INT8) == "weight_only"


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("name", KINDS)
def test_a_product_is_near(name, rows):
    torch.manual_seed(rows)
    weight, bias, given = torch.randn(48, 80), torch.randn(48), torch.randn(rows, 80)
    wanted = given @ weight.T + bias
    found = KINDS[name](weight, bias)(given)
    assert found.dtype is torch.float32
    assert float((found - wanted).abs().max() / wanted.abs().max()) < linear.PROBE_TOLERANCE[name]


@pytest.mark.parametrize("give_back", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_a_large_weight_is_laid_out_in_parts(monkeypatch, name, give_back):
    monkeypatch.setattr(linear, "PART_BYTES", 40_000)  # of 64 rows of 256, two parts
    torch.manual_seed(0)
    weight, bias, given = torch.randn(64, 256), torch.randn(64), torch.randn(5, 256)
    wanted, kept = given @ weight.T + bias, weight.clone()
    found = linear.in_parts(KINDS[name], weight, bias, give_back=give_back)
    assert isinstance(found, linear.PartedLinear) is (name in ("packed", "half"))
    error = float((found(given) - wanted).abs().max() / wanted.abs().max())
    assert error < linear.PROBE_TOLERANCE[name]
    assert torch.equal(weight, kept) is (name == "plain" or not give_back)


@pytest.mark.parametrize("steps", [linear.WEIGHT_STEPS, linear.FEWER_STEPS])
def test_in_int8_the_largest_numbers_add_up_if_the_steps_are_few_enough(steps):
    product = linear.Int8Linear(torch.ones(2, 96), steps=min(steps, linear.weight_steps()))
    torch.testing.assert_close(product(torch.ones(3, 96)), torch.full((3, 2), 96.0))


def test_a_processor_that_loses_what_does_not_fit_gets_fewer_steps(monkeypatch):
    class Saturating:
        def __init__(self, weight, steps):
            pass

        def __call__(self, rows):
            return torch.full((len(rows), 256), 256.0 * 0.9)

    monkeypatch.setattr(linear, "Int8Linear", Saturating)
    assert linear.weight_steps.__wrapped__() == linear.FEWER_STEPS


def test_in_int8_a_loud_row_does_not_drown_a_quiet_one():
    torch.manual_seed(0)
    weight, given = torch.randn(48, 80), torch.randn(6, 80) * torch.logspace(-3, 3, 6)[:, None]
    product = KINDS["int8"](weight, None)
    wanted = given @ weight.T
    together = product(given)
    error = (together - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert float(error.max()) < 0.03
    for row in range(6):
        assert torch.equal(product(given[row : row + 1])[0], together[row])
    assert torch.equal(product(torch.zeros(2, 80)), torch.zeros(2, 48))


class _Absent:
    def __init__(self, weight, bias):
        raise NotImplementedError("no such operator on this processor")


class _Wrong(PlainLinear):
    def __call__(self, rows):
        return super().__call__(rows).flip(-1)


@pytest.mark.parametrize("broken", [_Absent, _Wrong])
@pytest.mark.parametrize(("name", "dtype"), [("packed", torch.float32), ("half", torch.float16)])
def test_what_does_not_work_here_is_replaced(monkeypatch, broken, name, dtype):
    monkeypatch.setitem(linear.KINDS, name, broken)
    kind = prepare(name, dtype, CPU)
    assert getattr(kind, "func", kind) is PlainLinear
    weight, rows = torch.randn(8, 16).to(dtype), torch.randn(3, 16)  # a CPU computes half in full
    torch.testing.assert_close(kind(weight, None)(rows), rows @ weight.float().T)


@pytest.mark.parametrize("name", KINDS)
def test_what_works_is_kept(name):
    kind = prepare(name, torch.float32, CPU)
    assert getattr(kind, "func", kind) is KINDS[name]
