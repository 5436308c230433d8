"""The compiled loops against torch, and what happens where they cannot be had."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.generation import kernels
from kogpt_bot.generation.kv_store import KEYS, VALUES, Int8Cache

CPU = torch.device("cpu")
TOKENS, HEADS, HEAD = 300, 3, 32

pytest.importorskip("numba")


@pytest.fixture(scope="module", params=[1, 2, 5], ids="{} threads".format)
def under_test(request):
    return kernels.Kernels(request.param)


def kept_as(dtype, cache):
    """Return a cache as it is kept, its scales or None, and the numbers that this stands for."""
    if dtype is torch.float32:
        return cache, None, cache
    scales = cache.abs().amax(-1) / 127
    kept = (cache / scales.unsqueeze(-1)).round().to(torch.int8)
    return kept, scales, kept * scales.unsqueeze(-1)


KEPT = pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)


def seen_by_torch(cache, query, places):
    keys, values = cache[:, :, places].double()
    scores = keys @ query.double().unsqueeze(-1) / HEAD**0.5
    # What float32 makes of a score is off by its last bits, a weight by as much of itself.
    return (scores.softmax(dim=1) * values).sum(dim=1).float(), float(scores.abs().max()) * 2**-21


runs = st.tuples(st.integers(0, TOKENS - 1), st.integers(1, 150)).map(
    lambda run: (run[0], min(run[1], TOKENS - run[0]))
)


@KEPT
@settings(max_examples=60, deadline=None)
@given(
    st.lists(runs, max_size=3),
    st.lists(st.lists(runs, min_size=1, max_size=3), min_size=1, max_size=4),
    st.sampled_from([0.1, 1.0, 30.0]),
)
def test_rows_see_what_torch_sees(under_test, dtype, shared, own, loudness):
    generator = torch.Generator().manual_seed(len(shared) + 10 * len(own))
    kept, scales, cache = kept_as(dtype, torch.randn(2, HEADS, TOKENS, HEAD, generator=generator))
    joined = torch.randn(len(own), 2, HEADS, HEAD, generator=generator) * loudness
    out = torch.full((len(own), 2, HEADS, HEAD), 7.0)
    spans = [[0, len(own), *run] for run in shared]
    spans += [[row, row + 1, *run] for row, mine in enumerate(own) for run in mine]
    under_test.look(kept, joined[:, 0], out[:, 0], torch.tensor(spans), scales)
    for row, mine in enumerate(own):
        places = [at for begin, length in (*shared, *mine) for at in range(begin, begin + length)]
        wanted, off = seen_by_torch(cache, joined[row, 0], places)
        torch.testing.assert_close(out[row, 0], wanted, atol=2e-6 + off, rtol=0)
    assert (out[:, 1] == 7).all(), "what lies between was written"


@KEPT
@pytest.mark.parametrize("half", [0, 1], ids=["keys", "values"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_row_with_nan_or_infinity_shows_it_and_no_other_does(under_test, dtype, value, half):
    cache, queries = torch.randn(2, HEADS, TOKENS, HEAD), torch.randn(3, HEADS, HEAD)
    cache[half, :, 120] = value
    scales = None
    if dtype is torch.int8:
        new, scales = cache.permute(2, 0, 1, 3), torch.empty(2, HEADS, TOKENS)
        cache = torch.empty_like(cache, dtype=torch.int8)
        under_test.keep(new, torch.arange(TOKENS), cache, scales)
    out = torch.empty_like(queries)
    spans = torch.tensor([[0, 3, 0, 100], [1, 2, 100, 70], [2, 3, 200, 70]])
    under_test.look(cache, queries, out, spans, scales)
    assert not out[1].isfinite().any()
    assert out[[0, 2]].isfinite().all()


@pytest.mark.parametrize("rows", [1, 40, 300])
def test_an_int8_cache_is_kept_and_read_as_torch_does_it(under_test, rows):
    generator = torch.Generator().manual_seed(rows)
    joined = torch.randn(rows, 3, HEADS, HEAD, generator=generator)
    joined *= torch.logspace(-6, 6, rows)[:, None, None, None]
    joined[-1, :, 0] = 0
    slots = torch.randperm(TOKENS, generator=generator)[:rows]
    ours, plain = (
        Int8Cache(HEADS, HEAD, TOKENS, torch.float32, kernels=by) for by in (under_test, None)
    )
    for each in (ours, plain):
        each.write(slots, joined[:, 1:])
    for found, wanted in zip(ours.tensors, plain.tensors, strict=True):
        torch.testing.assert_close(found[:, :, slots], wanted[:, :, slots])
    for half in (KEYS, VALUES):
        found, wanted = (each.read(half, int(slots[0]), 1) for each in (ours, plain))
        torch.testing.assert_close(found, wanted)
        new = joined[:1, 1 + half].transpose(0, 1)
        assert ((wanted - new).abs() <= new.abs().amax(-1, keepdim=True) * (0.5001 / 127)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("loudness", [1e-5, 1e-2, 1.0, 100.0])
def test_an_int8_cache_is_as_exact_in_half_precision_whatever_the_loudness(dtype, loudness):
    new = (torch.randn(20, 2, HEADS, HEAD) * loudness).to(dtype)
    cache = Int8Cache(HEADS, HEAD, 40, dtype)
    cache.write(torch.arange(20), new)
    for half in (KEYS, VALUES):
        found, wanted = cache.read(half, 0, 20), new[:, half].transpose(0, 1)
        assert found.dtype is dtype
        off = (found.double() - wanted.double()).abs()
        step = wanted.double().abs().amax(-1, keepdim=True) / 127
        rounding = torch.finfo(dtype).eps * wanted.double().abs() + torch.finfo(dtype).tiny / 512
        assert (off <= step * 0.501 + rounding).all()


def test_nothing_is_compiled_after_the_start():
    found = kernels.find(torch.float32, CPU, torch.int8)
    loops = [found._loops.look, found._loops.keep, found._loops.widen]
    before = [len(loop.signatures) for loop in loops]
    cache = Int8Cache(HEADS, HEAD, TOKENS, torch.float32, kernels=found)
    for rows in (1, 2, 40):
        joined, out = torch.randn(rows, 3, HEADS, HEAD), torch.empty(rows, 2, HEADS, HEAD)
        cache.write(torch.arange(rows), joined[:, 1:])
        cache.look(found, joined[:, 0], out[:, 0], torch.tensor([[0, rows, 0, rows]]))
        cache.read(KEYS, 0, rows)
    assert [len(loop.signatures) for loop in loops] == before


def test_they_serve_float32_on_a_processor():
    assert kernels.find(torch.float32, CPU) is not None
    assert kernels.find(torch.float32, CPU, torch.int8) is not None
    assert kernels.find(torch.bfloat16, CPU) is None
    assert kernels.find(torch.float32, torch.device("cuda")) is None


def test_without_numba_there_are_none(monkeypatch):
    import kogpt_bot.generation as package

    monkeypatch.delattr(package, "compiled", raising=False)
    monkeypatch.delitem(sys.modules, "kogpt_bot.generation.compiled", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert kernels.find(torch.float32, CPU) is None


def test_loops_that_compute_something_else_are_not_used(monkeypatch):
    right = kernels.Kernels.look

    def wrong(self, cache, queries, out, spans, scales):
        right(self, cache, queries, out, spans, scales)
        out.add_(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(kernels.Kernels, "look", wrong)
        assert kernels.find(torch.float32, CPU) is None
    monkeypatch.setattr(
        kernels.Kernels, "gelu", lambda _self, _, both, _width: both.fill_(float("nan"))
    )
    assert kernels.find(torch.float32, CPU) is None
