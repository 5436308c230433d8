"""What a GPU runs: Triton's kernels (on a CPU by its interpreter), and graphs of decoding steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from kogpt_bot.generation import kernels
from kogpt_bot.generation.cuda_graphs import SIZES, DecodeGraphs
from kogpt_bot.generation.kv_blocks import BLOCK
from kogpt_bot.generation.linear import WeightOnlyLinear
from kogpt_bot.generation.loading import LoadOptions, load
from tests.fakes.steps import step

pytest.importorskip("triton")
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
@pytest.mark.parametrize("rows", [1, 16, 21])
def test_a_product_with_bytes_is_the_product_with_what_they_stand_for(rows, biased):
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(40, 200, generator=generator)
    bias = torch.randn(40, generator=generator) if biased else None
    asked = torch.randn(rows, 200, generator=generator)
    moved = [None if each is None else each.to(DEVICE) for each in (weight, bias, asked)]
    kernel = WeightOnlyLinear(*moved[:2], multiply=triton_kernels.multiply)
    found, widened = kernel(moved[2]), WeightOnlyLinear(*moved[:2])(moved[2])
    torch.testing.assert_close(found, widened, atol=1e-4, rtol=1e-4)
    exact = torch.nn.functional.linear(asked, weight, bias)
    assert float((found.cpu() - exact).abs().max()) < 0.02 * float(exact.abs().max())


def test_the_kernels_are_tried_before_they_are_used(monkeypatch):
    wanted = (HEADS, 16, torch.float32, torch.device("cpu"), torch.float32)
    assert kernels.find_paged(*wanted) is None  # a CPU has kernels of its own
    monkeypatch.setattr(kernels, "_triton", lambda _device: triton_kernels)
    if DEVICE.type == "cpu":
        assert kernels.find_paged(*wanted) is triton_kernels.look
        assert kernels.find_paged(*wanted[:-1], torch.int8) is triton_kernels.look
        assert kernels.find_multiply(torch.float32, DEVICE) is triton_kernels.multiply

    def wrong(numbers, scales, queries, out, tables, ends, block):
        out.zero_()

    def unable(*_):
        raise RuntimeError("no kernel image is available for execution on the device\nhint")

    for broken in (wrong, unable):
        monkeypatch.setattr(triton_kernels, "look", broken)
        assert kernels.find_paged(*wanted) is None
    monkeypatch.setattr(triton_kernels, "multiply", unable)
    assert kernels.find_multiply(torch.float32, torch.device("cpu")) is None


@pytest.fixture(scope="module", params=["auto", "int8"], ids="cache {}".format)
def pair(request, checkpoints):
    folder = checkpoints["small"]
    options = LoadOptions(str(folder), device="cpu", dtype="float32", kv_cache_dtype=request.param)
    ours = load(options).model
    ours._kernels, ours._paged = None, triton_kernels.look
    return ours, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def eager(work):
    """Stand in for a graph: what is recorded is done again by doing it again."""
    work()
    return work


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
        ours.shape.context, ours.shape.vocabulary, spare=spare, capture=eager,
    )  # fmt: skip
    for number in range(4):
        logits = write(ours, store, texts, tables, recorded if number % 2 else None)
        if exact:
            for ids, row in zip(texts, logits, strict=True):
                with torch.no_grad():
                    wanted = oracle(torch.tensor([ids[:-1]])).logits[0, -1]
                torch.testing.assert_close(row, wanted, atol=1e-4, rtol=1e-4)
    assert list(recorded._graphs) == [4]  # three rows, and one that fills up
    again = write(ours, store, [ids[:-1] for ids in texts], tables)
    graphed = write(ours, store, [ids[:-1] for ids in texts], tables, recorded)
    torch.testing.assert_close(again, graphed, atol=1e-5, rtol=1e-5)


def graphs_of(decode, capture):
    return DecodeGraphs(
        decode, triton_kernels.look, torch.device("cpu"), 64, 5, spare=3, capture=capture
    )


class Row:
    """What a graph looks at of a segment."""

    def __init__(self, length=1, want=1, end=2):
        self.length, self.want, self.end, self.table = length, want, end, [0]


def flat(rows):
    return tuple(torch.ones(rows, dtype=torch.long) for _ in range(3))


def test_a_graph_is_for_steps_that_write_only_and_is_recorded_once_a_size():
    recorded = []

    def capture(work):
        recorded.append(len(recorded))
        return eager(work)

    graphs = graphs_of(lambda given, _plan: given[0].unsqueeze(1) + torch.arange(5.0), capture)
    assert graphs.run(flat(1), [Row()]).tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0]]
    assert graphs.run(flat(3), [Row()] * 3).shape == (3, 5)
    assert graphs.run(flat(4), [Row()] * 4).shape == (4, 5)
    assert len(recorded) == 2
    for other in ([Row(), Row(length=2)], [Row(want=0)], [Row()] * (SIZES[-1] + 1)):
        assert graphs.run(flat(len(other)), other) is None


def test_graphs_that_cannot_be_recorded_or_are_wrong_are_given_up():
    def failing(_work):
        raise RuntimeError("operation not permitted when stream is capturing")

    def stale(_work):
        return lambda: None

    for capture in (failing, stale):
        graphs = graphs_of(lambda given, _plan: torch.ones(len(given[0]), 5), capture)
        assert graphs.run(flat(1), [Row()]) is None
        assert graphs.run(flat(2), [Row()] * 2) is None

    def short(_work):
        raise torch.OutOfMemoryError("out of memory")

    graphs = graphs_of(lambda given, _plan: torch.ones(len(given[0]), 5), short)
    with pytest.raises(torch.OutOfMemoryError):  # the step is tried again with less
        graphs.run(flat(1), [Row()])
    assert graphs._usable
