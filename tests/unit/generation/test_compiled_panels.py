"""The product in float32 in compiled loops: one order of adding up, whatever shares the batch."""

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.generation import kernels, linear

pytest.importorskip("numba")

from kogpt_bot.generation import compiled, compiled_panels


@pytest.fixture(scope="module", params=[1, 3], ids="{} threads".format)
def under_test(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "PRODUCTS", 64)  # so that a small product is shared out
        yield kernels.Kernels(request.param)


def random_product(outputs, size, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, generator=generator)
        for shape in ((outputs, size), (outputs,), (rows, size))
    ]


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 210),
    outputs=st.integers(1, 200),
    size=st.one_of(st.integers(1, 90), st.sampled_from([511, 512, 513, 1100])),
    biased=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float16]),
)
def test_it_is_the_product_and_each_row_alone_is_that_of_many(
    under_test, rows, outputs, size, biased, dtype
):
    weight, bias, asked = random_product(outputs, size, rows, rows)
    weight = weight.to(dtype)
    multiply = under_test.float_product(weight, bias if biased else None)
    found = multiply(asked)
    wanted = asked.double() @ weight.double().T + (bias if biased else 0)
    assert found.shape == (rows, outputs)
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-5)
    for row in {0, rows // 2, rows - 1}:
        assert torch.equal(multiply(asked[row : row + 1])[0], found[row])


@pytest.mark.parametrize("rows", range(1, 14))
def test_a_row_is_the_same_to_the_last_bit_in_any_company(under_test, rows):
    weight, bias, asked = random_product(150, 1030, 13)
    multiply = under_test.float_product(weight, bias)
    assert torch.equal(multiply(asked[:rows]), multiply(asked)[:rows])
    assert torch.equal(kernels.Kernels(1).float_product(weight, bias)(asked), multiply(asked))


def test_rows_that_lie_apart_in_memory_are_read_as_they_are(under_test):
    weight, bias, asked = random_product(40, 50, 7)
    multiply = under_test.float_product(weight, bias)
    wide = torch.zeros(7, 120)
    wide[:, 10:60] = asked
    assert torch.equal(multiply(wide[:, 10:60]), multiply(asked))
    assert torch.equal(multiply(asked.T.contiguous().T), multiply(asked))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("rows", [1, 3, 9])
def test_a_row_with_nan_or_infinity_shows_it_and_no_other_does(under_test, value, rows):
    weight, bias, asked = random_product(37, 40, rows)
    multiply = under_test.float_product(weight, bias)
    whole = multiply(asked)
    asked[rows // 2, 7] = value
    found = multiply(asked)
    others = [row for row in range(rows) if row != rows // 2]
    assert not found[rows // 2].isfinite().any()
    assert torch.equal(found[others], whole[others])


def test_a_step_without_rows_gives_none(under_test):
    weight, bias, _ = random_product(12, 40, 1)
    assert under_test.float_product(weight, bias)(torch.empty(0, 40)).shape == (0, 12)


def test_long_rows_are_added_up_in_parts(under_test):
    """In one go 20,480 numbers would be off by several times as much."""
    weight, bias, asked = random_product(64, 20_480, 6)
    found = under_test.float_product(weight, bias)(asked)
    wanted = asked.double() @ weight.double().T + bias
    torch_off = (torch.nn.functional.linear(asked, weight, bias) - wanted).abs().max()
    assert (found - wanted).abs().max() < 2 * torch_off


def loaded_anew(module):
    spec = importlib.util.spec_from_file_location("other", module.__file__)
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    return other


@pytest.mark.parametrize("wide", [True, False])
def test_other_processors_have_other_vectors_and_give_the_same(monkeypatch, wide):
    import llvmlite.binding
    import numba

    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: {"avx512bw": wide})
    # Not kept on disk in the real one's place.
    monkeypatch.setattr(compiled, "compile_exactly", numba.njit(error_model="numpy"))
    other = loaded_anew(compiled_panels)
    assert ((32, 12) if wide else (16, 6)) == (other.WIDTH, other.ROWS)
    whole, bias, asked = random_product(150, 300, 60)
    for weight in (whole, whole.half()):
        ours = kernels.Kernels(1)
        found = ours.float_product(weight, bias)(asked)
        ours._panels = other
        multiply = ours.float_product(weight, bias)
        for rows in (1, 3, 7, 60):
            assert torch.equal(multiply(asked[:rows]), found[:rows])
    steps, scales = torch.randint(-127, 128, whole.shape).to(torch.int8), torch.rand(len(whole))
    ours = kernels.Kernels(1)
    found = ours.product(steps, scales, bias, 127)(asked)
    ours._panels = other
    multiply = ours.product(steps, scales, bias, 127)
    for rows in (1, 2, 3, 7, 60):
        assert torch.equal(multiply(asked[:rows]), found[:rows])


def test_it_is_used_where_numba_is_and_onednn_where_it_does_not_compile(monkeypatch):
    cpu = torch.device("cpu")
    found = kernels.find(torch.float32, cpu)
    assert linear.prepare("packed", torch.float32, cpu, found).func is linear.PanelLinear
    assert linear.prepare("half", torch.float16, cpu, found).func is linear.PanelLinear
    assert linear.prepare("packed", torch.float32, cpu) is linear.PackedLinear
    assert linear.prepare("half", torch.float16, cpu) is linear.HalfLinear

    def broken(*_, **__):
        raise ValueError("no such instruction")

    def wrong_for_few(weight, _, **__):
        return lambda rows: rows @ weight.T if len(rows) != 3 else rows @ weight.T + 1

    for other in (broken, wrong_for_few):
        monkeypatch.setattr(found, "float_product", other)
        assert linear.prepare("packed", torch.float32, cpu, found) is linear.PackedLinear


@pytest.mark.parametrize(
    ("features", "panels"),
    [({}, ()), ({"fma": True}, ("packed",)), ({"fma": True, "f16c": True}, ("packed", "half"))],
    ids=str,
)
def test_a_processor_without_the_instructions_keeps_torchs_operators(monkeypatch, features, panels):
    import llvmlite.binding

    cpu = torch.device("cpu")
    found = kernels.find(torch.float32, cpu)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: features)
    for name, dtype in (("packed", torch.float32), ("half", torch.float16)):
        kind = linear.prepare(name, dtype, cpu, found)
        chosen = getattr(kind, "func", kind)
        assert (chosen is linear.PanelLinear) is (name in panels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_panels_hold_each_weight_once(dtype):
    weight = random_product(50, 30, 1)[0].to(dtype)
    panels = kernels.Kernels(1)._panels_of(weight)
    panels, width = panels.view(weight.numpy().dtype), compiled_panels.WIDTH
    assert panels.shape == (-(-50 // width), 30, width)
    flat = np.swapaxes(panels, 1, 2).reshape(-1, 30)
    assert np.array_equal(flat[:50], weight.numpy())
    assert not flat[50:].any()


def test_pairs_of_an_output_lie_side_by_side_in_a_panel():
    weight = torch.randint(-127, 128, (50, 31)).to(torch.int8)
    panels, width = kernels.Kernels(1)._panels_of(weight, together=2), compiled_panels.WIDTH
    assert panels.shape == (-(-50 // width), 16, 2 * width)
    flat = panels.reshape(-1, 16, width, 2).swapaxes(1, 2).reshape(-1, 32)
    assert np.array_equal(flat[:50, :31], weight.numpy())
    assert not flat[50:].any()
    assert not flat[:, 31].any()
