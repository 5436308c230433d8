"""A GPU's kernels are tried before they are used, and left out where they fail or are wrong."""

import importlib
import sys

import pytest
import torch

from kogpt_bot.generation import gpu_kernels, linear
from kogpt_bot.generation.kv_store import KEYS, VALUES, CacheDtype
from kogpt_bot.generation.linear import PlainLinear, RowLinear, WeightOnlyLinear, prepare
from kogpt_bot.generation.operators import TorchOperators

pytest.importorskip("triton", reason="comes with torch's CUDA builds, and with .ci/run")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

from kogpt_bot.generation.triton_attention import TritonAttention  # noqa: E402
from kogpt_bot.generation.triton_operators import TritonOperators  # noqa: E402
from kogpt_bot.generation.triton_products import TritonProducts  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # the interpreter's numpy, of NaN
]

HEADS, HEAD, ROTARY = 2, 16, 8
HALF, FULL = torch.float16, torch.float32


@pytest.fixture
def with_kernels(monkeypatch):
    """Let a processor have Triton's kernels, too."""

    def module(name, _device):
        return importlib.import_module(f"kogpt_bot.generation.{name}")

    monkeypatch.setattr(gpu_kernels, "_triton", module)


def paged(dtype, cache=None):
    return gpu_kernels.find_paged(HEADS, HEAD, dtype, DEVICE, cache or dtype)


def operators(dtype, kept=CacheDtype.AUTO):
    return gpu_kernels.find_operators(HEADS, HEAD, ROTARY, dtype, DEVICE, kept)


def products(dtype):
    return gpu_kernels.find_products(dtype, DEVICE)


def test_a_processor_has_kernels_of_its_own():
    cpu = torch.device("cpu")
    assert gpu_kernels.find_paged(HEADS, HEAD, FULL, cpu, FULL) is None
    assert gpu_kernels.find_operators(HEADS, HEAD, ROTARY, FULL, cpu, CacheDtype.AUTO) is None
    assert gpu_kernels.find_products(FULL, cpu) is None


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("cache", [None, torch.int8], ids=["cache auto", "cache int8"])
def test_attention_that_serves_is_found_and_reads_prompts_in_half_precision(cache):
    found = paged(HALF, cache)
    assert isinstance(found, TritonAttention)
    assert found.rows == TritonAttention().rows > 0
    assert paged(FULL, cache).rows == 0


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("kept", CacheDtype)
@pytest.mark.parametrize("dtype", [FULL, HALF], ids=str)
def test_operators_that_serve_are_found(dtype, kept):
    assert isinstance(operators(dtype, kept), TritonOperators)


@pytest.mark.usefixtures("with_kernels")
def test_products_that_serve_are_found():
    assert isinstance(products(HALF), TritonProducts)


def unable(*_, **__):
    raise RuntimeError("no kernel image is available for execution on the device\nhint")


def without_a_home(*_, **__):
    raise PermissionError(30, "Read-only file system", "/.triton")


class OutOfResources(Exception):
    """As Triton's errors are: no RuntimeError."""


def too_large(*_, **__):
    raise OutOfResources("shared memory, Required: 131072, Hardware limit: 101376")


FAILURES = [unable, without_a_home, too_large]


class TorchAttention:
    """Attention over blocks in torch."""

    def look(self, numbers, scales, queries, out, tables, ends, block):
        for row, end in enumerate(ends.tolist()):
            self._see(numbers, scales, queries[row], out[row], tables[row], end, block)

    def read(self, numbers, scales, queries, out, tables, tiles, block):
        for first, count, start, table in tiles.tolist():
            for at in range(count):
                given = queries[first + at], out[first + at], tables[table]
                self._see(numbers, scales, *given, start + at + 1, block)

    def _see(self, numbers, scales, query, out, table, end, block):
        places = (table.unsqueeze(1) * block + torch.arange(block)).flatten()[:end]
        kept = numbers[:, :, places].float()
        keys, values = kept if scales is None else kept * scales[:, :, places].unsqueeze(-1)
        scores = keys @ query.float().unsqueeze(-1) * query.shape[-1] ** -0.5
        out.copy_((scores.softmax(dim=1) * values).sum(dim=1))


class TorchProducts:
    """Products in torch."""

    def multiply(self, rows, weight, scales, bias, late=0):
        if scales is not None:
            weight = TorchProducts().widen(weight, scales, rows.dtype)
        return torch.nn.functional.linear(rows, weight, bias)

    def widen(self, weight, scales, dtype):
        return (weight * scales.unsqueeze(1)).to(dtype)


@pytest.fixture
def in_torch(monkeypatch, with_kernels):
    """Let torch do on a processor what the kernels do, in a moment."""
    monkeypatch.setattr(sys.modules[__name__], "DEVICE", torch.device("cpu"))
    for kernels, torchs, methods in (
        (TritonAttention, TorchAttention, ("look", "read", "_see")),
        (TritonOperators, TorchOperators, ("norm", "spread")),
        (TritonProducts, TorchProducts, ("multiply", "widen")),
    ):
        for method in methods:
            monkeypatch.setattr(kernels, method, getattr(torchs, method), raising=False)


WRONG = {
    "off": lambda found: found.mul_(1.1),
    "nothing": lambda found: found.zero_(),
    "NaN": lambda found: found.fill_(float("nan")),
    "NaN in a row": lambda found: found[-1].fill_(float("nan")),
}
WRONGLY = pytest.mark.parametrize("how", WRONG.values(), ids=WRONG.keys())


def spoil(monkeypatch, kernels, method, how):
    """Let a method give something else."""
    right = getattr(kernels, method)

    def wrong(self, *arguments, **named):
        found = right(self, *arguments, **named)
        if found is None:  # it is written to the fourth argument
            found = arguments[3]
        for each in found if isinstance(found, tuple) else (found,):
            how(each)
        return found

    monkeypatch.setattr(kernels, method, wrong)


@pytest.mark.usefixtures("in_torch")
def test_whatever_computes_the_same_is_found():
    for dtype in (FULL, HALF):
        assert paged(dtype).rows == (0 if dtype is FULL else TritonAttention().rows)
        assert operators(dtype) is not None
        assert products(dtype) is not None


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("broken", FAILURES)
def test_kernels_that_fail_are_left_out(monkeypatch, broken):
    for kernels, method, found in (
        (TritonAttention, "look", lambda: paged(HALF)),
        (TritonOperators, "norm", lambda: operators(HALF)),
        (TritonOperators, "spread", lambda: operators(HALF)),
        (TritonProducts, "multiply", lambda: products(HALF)),
        (TritonProducts, "widen", lambda: products(HALF)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, method, broken)
            assert found() is None
    monkeypatch.setattr(TritonAttention, "read", broken)
    assert paged(HALF).rows == 0  # rows that write are served


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("dtype", [FULL, HALF], ids=str)
@WRONGLY
def test_attention_that_is_wrong_is_left_out(monkeypatch, dtype, how):
    with monkeypatch.context() as patch:
        spoil(patch, TritonAttention, "look", how)
        assert paged(dtype) is None
    spoil(monkeypatch, TritonAttention, "read", how)
    assert paged(dtype).rows == 0


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("method", ["norm", "spread"])
@pytest.mark.parametrize("dtype", [FULL, HALF], ids=str)
@WRONGLY
def test_operators_that_are_wrong_are_left_out(monkeypatch, method, dtype, how):
    spoil(monkeypatch, TritonOperators, method, how)
    assert operators(dtype) is None


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("kept", CacheDtype)
@pytest.mark.parametrize("half", [KEYS, VALUES], ids=["keys", "values"])
@WRONGLY
def test_operators_that_keep_something_else_are_left_out(monkeypatch, half, kept, how):
    def wrong(self, joined, turns, slots, cache, both, heads):
        asked = TorchOperators.spread(self, joined, turns, slots, cache, both, heads)
        new = joined[:, : 3 * HEADS * HEAD].view(-1, 3, HEADS, HEAD)
        how(new[:, 1 + half])
        cache.write(slots, new[:, 1:])
        return asked

    monkeypatch.setattr(TritonOperators, "spread", wrong)
    assert operators(HALF, kept) is None


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("method", ["multiply", "widen"])
@pytest.mark.parametrize("dtype", [FULL, HALF], ids=str)
@WRONGLY
def test_products_that_are_wrong_are_left_out(monkeypatch, method, dtype, how):
    spoil(monkeypatch, TritonProducts, method, how)
    assert products(dtype) is None


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("least", [2, 17, 33])
@WRONGLY
def test_products_that_are_wrong_for_several_rows_only_are_left_out(monkeypatch, least, how):
    def wrong(self, rows, *rest, **named):
        found = TorchProducts().multiply(rows, *rest, **named)
        if len(rows) >= least:
            how(found)
        return found

    monkeypatch.setattr(TritonProducts, "multiply", wrong)
    assert products(FULL) is None


def test_products_that_were_found_are_used_on_a_gpu(monkeypatch):
    gpu, found = torch.device("cuda", 0), TritonProducts()
    monkeypatch.setattr(linear, "find_products", lambda _dtype, _device: found)
    for name, kind in (("plain", RowLinear), ("weight_only", WeightOnlyLinear)):
        made = prepare(name, HALF, gpu)
        assert (made.func, made.keywords) == (kind, {"products": found})
        behind_attention = linear.for_late(made, 64)
        assert behind_attention.keywords == {"products": found, "late": 64}
    assert linear.for_late(PlainLinear, 64) is PlainLinear
    monkeypatch.setattr(linear, "find_products", lambda _dtype, _device: None)
    assert prepare("plain", HALF, gpu) is PlainLinear
    made = prepare("weight_only", HALF, gpu)(torch.ones(2, 3), None)
    torch.testing.assert_close(made(torch.ones(1, 3)), torch.full((1, 2), 3.0))


def test_old_gpus_and_owners_who_want_none_have_torchs_operators(monkeypatch):
    monkeypatch.delenv(gpu_kernels.SWITCH, raising=False)
    gpu, ability = torch.device("cuda", 0), (7, 5)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: ability)
    assert gpu_kernels._triton("triton_attention", gpu) is None
    ability = (8, 6)
    module = gpu_kernels._triton("triton_attention", gpu)
    assert module.TritonAttention is TritonAttention
    monkeypatch.setenv(gpu_kernels.SWITCH, "off")
    assert gpu_kernels._triton("triton_attention", gpu) is None
