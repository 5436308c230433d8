"""What a GPU runs: Triton's kernels; without one, its interpreter runs them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from kogpt_bot.generation import gpu_kernels
from kogpt_bot.generation.cuda_graphs import DecodeGraphs
from kogpt_bot.generation.kv_blocks import BLOCK
from kogpt_bot.generation.linear import WeightOnlyLinear
from kogpt_bot.generation.loading import LoadOptions, load
from tests.fakes.steps import eager, step

pytest.importorskip("triton", reason="comes with torch's CUDA builds, and with .ci/run")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

from kogpt_bot.generation import triton_kernels  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HEADS, BLOCKS = 2, 24
FORMATS = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


def kept_as(numbers, name):
    """Return what is kept, its scales or None, and the numbers that this stands for."""
    if name != "int8":
        kept = numbers.to(FORMATS[name])
        return kept, None, kept.float()
    scales = numbers.abs().amax(-1) / 127
    kept = (numbers / scales.unsqueeze(-1)).round().to(torch.int8)
    return kept, scales, kept * scales.unsqueeze(-1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_looked_at_and_written_as_it_is(dtype):
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, HEADS, BLOCKS * BLOCK, 64, generator=generator).to(dtype)
    queries = torch.randn(2, HEADS, 64, generator=generator).to(dtype)
    tables, ends = torch.arange(BLOCKS).repeat(2, 1), torch.tensor([300, 5], dtype=torch.int32)
    out = torch.empty_like(queries, device=DEVICE)
    given = (numbers.to(DEVICE), None, queries.to(DEVICE), out, tables.to(DEVICE), ends.to(DEVICE))
    triton_kernels.look(*given, BLOCK)
    for row, end in enumerate(ends.tolist()):
        keys, values = numbers[:, :, :end].float()
        shares = (keys @ queries[row].float().unsqueeze(-1) / 8).softmax(dim=1)
        wanted = (shares * values).sum(dim=1)
        torch.testing.assert_close(out[row].cpu().float(), wanted, atol=0.01, rtol=0.01)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(1, BLOCKS * BLOCK), min_size=1, max_size=3),
    st.sampled_from([16, 48, 256]),
)
def test_rows_see_what_torch_sees_wherever_their_blocks_lie(name, ends, head):
    generator = torch.Generator().manual_seed(sum(ends))
    numbers = torch.randn(2, HEADS, BLOCKS * BLOCK, head, generator=generator)
    kept, scales, numbers = kept_as(numbers, name)
    queries = torch.randn(len(ends), 3, HEADS, head, generator=generator)[:, 0]
    tables = torch.stack([torch.randperm(BLOCKS, generator=generator) for _ in ends])
    out = torch.empty(len(ends), HEADS * head + 5, device=DEVICE)[:, : HEADS * head]
    out = out.view(len(ends), HEADS, head)
    moved = [None if t is None else t.to(DEVICE) for t in (kept, scales, queries)]
    lengths = torch.tensor(ends, dtype=torch.int32).to(DEVICE)
    triton_kernels.look(*moved, out, tables.to(DEVICE), lengths, BLOCK)
    for row, end in enumerate(ends):
        places = [int(tables[row, at // BLOCK]) * BLOCK + at % BLOCK for at in range(end)]
        keys, values = numbers[:, :, places]
        shares = (keys @ queries[row].unsqueeze(-1) * head**-0.5).softmax(dim=1)
        wanted = (shares * values).sum(dim=1)
        torch.testing.assert_close(out[row].cpu(), wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("rows", "outs"), [(1, 40), (16, 40), (21, 40), (64, 40), (3, 8200)])
def test_a_product_with_bytes_is_the_product_with_what_they_stand_for(rows, outs, biased):
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(outs, 200, generator=generator)
    bias = torch.randn(outs, generator=generator) if biased else None
    asked = torch.randn(rows, 200, generator=generator)
    moved = [None if each is None else each.to(DEVICE) for each in (weight, bias, asked)]
    kernel = WeightOnlyLinear(*moved[:2], multiply=triton_kernels.multiply)
    found, widened = kernel(moved[2]), WeightOnlyLinear(*moved[:2])(moved[2])
    half = WeightOnlyLinear(*moved[:2], multiply=triton_kernels.multiply)(moved[2].half())
    torch.testing.assert_close(half.float(), widened, atol=0.1, rtol=0.01)
    assert half.dtype is torch.float16
    torch.testing.assert_close(found, widened, atol=1e-4, rtol=1e-4)
    exact = torch.nn.functional.linear(asked, weight, bias)
    assert float((found.cpu() - exact).abs().max()) < 0.02 * float(exact.abs().max())


def test_the_kernels_are_tried_before_they_are_used(monkeypatch):
    wanted = (HEADS, 16, torch.float32, torch.device("cpu"), torch.float32)
    assert gpu_kernels.find_paged(*wanted) is None  # a CPU has kernels of its own
    monkeypatch.setattr(gpu_kernels, "_triton", lambda _device: triton_kernels)
    if DEVICE.type == "cpu":
        assert gpu_kernels.find_paged(*wanted) is triton_kernels.look
        assert gpu_kernels.find_paged(*wanted[:-1], torch.int8) is triton_kernels.look
        assert gpu_kernels.find_multiply(torch.float32, DEVICE) is triton_kernels.multiply

    def wrong(numbers, scales, queries, out, tables, ends, block):
        out.zero_()

    def unable(*_):
        raise RuntimeError("no kernel image is available for execution on the device\nhint")

    def without_a_home(*_):
        raise PermissionError(30, "Read-only file system", "/.triton")

    for broken in (wrong, unable, without_a_home):
        monkeypatch.setattr(triton_kernels, "look", broken)
        assert gpu_kernels.find_paged(*wanted) is None
    monkeypatch.setattr(triton_kernels, "multiply", unable)
    assert gpu_kernels.find_multiply(torch.float32, torch.device("cpu")) is None


def test_old_gpus_and_owners_who_want_none_have_torchs_operators(monkeypatch):
    monkeypatch.delenv(gpu_kernels.SWITCH, raising=False)
    gpu, ability = torch.device("cuda", 0), (7, 5)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: ability)
    assert gpu_kernels._triton(gpu) is None
    ability = (8, 6)
    assert gpu_kernels._triton(gpu) is triton_kernels
    monkeypatch.setenv(gpu_kernels.SWITCH, "off")
    assert gpu_kernels._triton(gpu) is None


@pytest.fixture(scope="module", params=["auto", "int8"], ids="cache {}".format)
def pair(request, checkpoints):
    folder = checkpoints["small"]
    options = LoadOptions(str(folder), device="cpu", dtype="float32", kv_cache_dtype=request.param)
    ours = load(options).model
    ours._kernels, ours._paged = None, triton_kernels.look
    return ours, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def write(ours, store, texts, tables, graphs=None):
    """Let every text grow by the likeliest token, in one step; return the logits."""
    if graphs is None:
        parts = [(t, ids[-1:], len(ids) - 1) for ids, t in zip(texts, tables, strict=True)]
        logits = step(ours, store, parts)
    else:
        ours._recorded = store, graphs
        logits = write(ours, store, [list(ids) for ids in texts], tables)
        ours._recorded = None
    for ids, row in zip(texts, logits, strict=True):
        ids.append(int(row.argmax()))
    return logits.clone()


@pytest.mark.skipif(DEVICE.type != "cpu", reason="the model of this test is on the CPU")
def test_the_model_gives_the_same_through_pages_and_graphs(pair):
    ours, oracle = pair
    exact = ours.cache_bytes_per_token == 4 * ours.shape.layers * 2 * ours.shape.width
    texts = [[7, 8, 9, *range(10, 40)], [11], [5] * 17]
    tables = [[4, 1, 3], [0, 6], [5, 2]]
    spare = 7
    store = ours.new_store(8)
    ours._recorded = None  # there is nothing to record a graph with
    for ids, table in zip(texts, tables, strict=True):
        if len(ids) > 1:
            step(ours, store, [(table, ids[:-1], 0)])
    recorded = DecodeGraphs(
        lambda flat, made: ours._decode(store, flat, made), triton_kernels.look, DEVICE,
        ours.shape.context, ours.shape.vocabulary, spare=spare, erase=store.erase, capture=eager,
    )  # fmt: skip
    for number in range(4):
        logits = write(ours, store, texts, tables, recorded if number % 2 else None)
        if exact:
            for ids, row in zip(texts, logits, strict=True):
                with torch.no_grad():
                    wanted = oracle(torch.tensor([ids[:-1]])).logits[0, -1]
                torch.testing.assert_close(row, wanted, atol=1e-4, rtol=1e-4)
    assert list(recorded._graphs) == [4]  # three rows, and one that fills up
    # A prompt beside rows that write: pages for these, views for that.
    mixed = [(tables[0], texts[0][-1:], len(texts[0]) - 1), (tables[1], [3, 4, 5], 4)]
    together = step(ours, store, mixed)
    alone = torch.cat([step(ours, store, [part]) for part in mixed])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    again = write(ours, store, [ids[:-1] for ids in texts], tables)
    graphed = write(ours, store, [ids[:-1] for ids in texts], tables, recorded)
    torch.testing.assert_close(again, graphed, atol=1e-5, rtol=1e-5)
