"""Triton's kernels, each against torch; without a GPU, Triton's interpreter runs them."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.generation.attention import Segment, attend, plan
from kogpt_bot.generation.extents import runs
from kogpt_bot.generation.kv_blocks import BLOCK, blocks_of
from kogpt_bot.generation.kv_store import FullCache, Int8Cache
from kogpt_bot.generation.linear import FEW_ROWS, PlainLinear, RowLinear, WeightOnlyLinear
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

HEADS, BLOCKS = 2, 24
KINDS = {"kept whole": FullCache, "kept in bytes": Int8Cache}
HALF, FULL, BRAIN = torch.float16, torch.float32, torch.bfloat16
# The interpreter cuts what does not fit in bfloat16 off, and multiplies matrices of it wrongly.
BRAIN_ON_A_GPU = pytest.param(
    BRAIN, marks=pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU: bfloat16")
)
OFF = {FULL: 2e-5, HALF: 5e-3, BRAIN: 3e-2}  # of numbers near 1


def kinds_and(*dtypes):
    """Run a test with each kind of cache, in each precision."""

    def wrap(test):
        for mark in (
            pytest.mark.parametrize("kind", KINDS),
            pytest.mark.parametrize("dtype", dtypes, ids=str),
        ):
            test = mark(test)
        return test

    return wrap


def sequences(kind, dtype, head, tables, ends, generator):
    """Return a cache in which sequences are kept and all else is NaN, and their numbers
    [2, heads, end, head] as they are kept."""
    cache = KINDS[kind](HEADS, head, BLOCKS * BLOCK, dtype, DEVICE)
    numbers, *scales = cache.tensors
    numbers.fill_(float("nan") if not scales else 127)
    for each in scales:
        each.fill_(float("nan"))
    found = []
    for table, end in zip(tables, ends, strict=True):
        places = [table[at // BLOCK] * BLOCK + at % BLOCK for at in range(end)]
        on = torch.tensor(places).to(DEVICE)
        cache.write(on, torch.randn(end, 2, HEADS, head, generator=generator).to(DEVICE, dtype))
        found.append(cache.gather(on.unsqueeze(0))[:, :, 0].cpu().float())
    return cache, found


def blocks_anywhere(ends, generator):
    order = torch.randperm(BLOCKS, generator=generator).tolist()
    return [[order.pop() for _ in range(blocks_of(end))] for end in ends]


def seen_by_torch(numbers, query, end):
    """Return what a row [heads, head] sees of the first tokens of its sequence."""
    keys, values = numbers[:, :, :end]
    scores = keys @ query.cpu().float().unsqueeze(-1) * query.shape[-1] ** -0.5
    return (scores.softmax(dim=1) * values).sum(dim=1)


@kinds_and(FULL, HALF, BRAIN)
@settings(max_examples=5, deadline=None)
@given(
    st.lists(st.integers(1, BLOCKS * BLOCK // 3 - BLOCK), min_size=1, max_size=3),
    st.sampled_from([16, 48, 256]),
)
def test_rows_that_write_see_what_torch_sees_wherever_their_blocks_lie(kind, dtype, ends, head):
    generator = torch.Generator().manual_seed(sum(ends))
    tables = blocks_anywhere(ends, generator)
    cache, kept = sequences(kind, dtype, head, tables, ends, generator)
    queries = torch.randn(len(ends), 3, HEADS, head, generator=generator).to(DEVICE, dtype)[:, 0]
    out = torch.full((len(ends), HEADS * head + 5), 7.0, dtype=dtype, device=DEVICE)
    segments = [
        Segment(table, runs(table), row, 1, end - 1, 1)
        for row, (table, end) in enumerate(zip(tables, ends, strict=True))
    ]
    target = out[:, : HEADS * head].view(len(ends), HEADS, head)
    attend(cache, queries, target, plan(segments, dtype, DEVICE, paged=TritonAttention()))
    for row, end in enumerate(ends):
        wanted = seen_by_torch(kept[row], queries[row], end)
        found = target[row].cpu().float()
        torch.testing.assert_close(found, wanted, atol=OFF[dtype], rtol=OFF[dtype])
    assert (out[:, HEADS * head :] == 7).all(), "what lies between was written"


def test_a_long_row_is_shared_by_programs_in_any_company():
    generator = torch.Generator().manual_seed(0)
    ends = [1, 350]
    tables = [list(range(BLOCKS))[::-1], list(range(BLOCKS))]
    numbers = torch.randn(2, HEADS, BLOCKS * BLOCK, 16, generator=generator).to(DEVICE)
    rows = torch.randn(9, HEADS, 16, generator=generator).to(DEVICE)
    for count in (2, 8, 9):  # each is shared out in another way
        out = torch.empty_like(rows[:count])
        of = [tables[row % 2] for row in range(count)]
        seen = [ends[row % 2] for row in range(count)]
        on = torch.tensor(of).to(DEVICE), torch.tensor(seen, dtype=torch.int32).to(DEVICE)
        TritonAttention().look(numbers, None, rows[:count], out, *on, BLOCK)
        for row in range(count):
            whole = numbers.view(2, HEADS, BLOCKS, BLOCK, 16)[:, :, of[row]].flatten(2, 3).cpu()
            wanted = seen_by_torch(whole, rows[row], seen[row])
            torch.testing.assert_close(out[row].cpu(), wanted, atol=2e-5, rtol=1e-4)


prompts = st.lists(
    # where it starts: behind a prefix that is reused; how long it is: more than a tile takes, too
    st.tuples(st.integers(0, 40), st.integers(1, 80)), min_size=1, max_size=3
)  # fmt: skip


@kinds_and(FULL, HALF, BRAIN_ON_A_GPU)
@settings(max_examples=6, deadline=None)
@given(prompts, st.sampled_from([8, 16, 48]))
def test_prompts_see_what_torch_sees_wherever_they_start(kind, dtype, given_prompts, head):
    generator = torch.Generator().manual_seed(sum(length for _, length in given_prompts))
    ends = [start + length for start, length in given_prompts]
    tables = blocks_anywhere(ends, generator)
    cache, kept = sequences(kind, dtype, head, tables, ends, generator)
    rows = sum(length for _, length in given_prompts)
    queries = torch.randn(rows + 1, 3, HEADS, head, generator=generator).to(DEVICE, dtype)[:, 0]
    out = torch.full((rows + 1, HEADS * head + 5), 7.0, dtype=dtype, device=DEVICE)
    segments, row = [], 0
    for table, (start, length) in zip(tables, given_prompts, strict=True):
        segments.append(Segment(table, runs(table), row, length, start, 1))
        row += length
    # Those of one token would be taken for rows that write.
    segments.sort(key=lambda each: each.length == 1)
    made = plan(segments, dtype, DEVICE, paged=TritonAttention())
    target = out[:, : HEADS * head].view(rows + 1, HEADS, head)
    attend(cache, queries, target, made)
    row = 0
    for numbers, (start, length) in zip(kept, given_prompts, strict=True):
        for at in range(length):
            wanted = seen_by_torch(numbers, queries[row], start + at + 1)
            found = target[row].cpu().float()
            torch.testing.assert_close(found, wanted, atol=OFF[dtype], rtol=OFF[dtype])
            row += 1
    assert (out[:, HEADS * head :] == 7).all(), "what lies between was written"
    assert (out[rows] == 7).all(), "what lies behind was written"


def test_every_prompt_of_a_step_is_read_at_once():
    segments = [
        Segment([4], [(4, 1)], 0, 1, 7, 1),
        Segment([0, 1, 2, 3, 9, 8], [(0, 4), (9, 1), (8, 1)], 1, 70, 20, 1),
        Segment([5], [(5, 1)], 71, 1, 0, 1),
    ]
    kernel = TritonAttention()
    writing, reading = plan(segments, FULL, torch.device("cpu"), paged=kernel)
    assert (writing.begin, writing.end, writing.tables.tolist()) == (0, 1, [[4]])
    assert reading.tables.tolist() == [[0, 1, 2, 3, 9, 8], [5, 0, 0, 0, 0, 0]]
    most = kernel.rows
    tiles = [[1 + done, min(most, 70 - done), 20 + done, 0] for done in range(0, 70, most)]
    assert reading.tiles.tolist() == [*tiles, [71, 1, 0, 1]]
    blind = plan(segments, FULL, torch.device("cpu"), paged=TritonAttention(reads=False))
    assert [(part.begin, part.end) for part in blind] == [(0, 1), (1, 71), (71, 72)]


@kinds_and(FULL, HALF, BRAIN)
@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 5),
    st.sampled_from([(1, 16, 8), (3, 24, 4), (2, 40, 20), (1, 256, 32)]),
    st.sampled_from([2, 40, 1100]),
    st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
)
def test_what_lies_between_products_is_what_torch_makes_of_it(
    kind, dtype, rows, shape, inner, loudness
):
    heads, head, pairs = shape
    width, tokens = heads * head, 50
    generator = torch.Generator().manual_seed(rows + inner)
    joined = (torch.randn(rows, 3 * width + inner, generator=generator) * loudness).to(dtype)
    angles = torch.rand(rows, pairs, generator=generator) * 2 * math.pi
    turns = torch.polar(torch.ones_like(angles), angles)
    slots = torch.randperm(tokens, generator=generator)[:rows]

    def spread_by(operators, device):
        cache = KINDS[kind](heads, head, tokens, dtype, device)
        for each in cache.tensors:
            each.fill_(7)
        both = torch.full((rows, width + inner), 7.0, dtype=dtype, device=device)
        moved = joined.to(device, copy=True), turns.to(device), slots.to(device)
        asked = operators.spread(*moved, cache, both, heads)
        assert asked.shape == (rows, heads, head)
        return [each.cpu() for each in (asked, both, *cache.tensors)]

    wanted = spread_by(TorchOperators(), torch.device("cpu"))
    found = spread_by(TritonOperators(), DEVICE)
    off = {"atol": 1e-6 + 1e-6 * loudness, "rtol": 1e-5}
    if dtype is not FULL:
        off = {"atol": 1e-6, "rtol": 2 * torch.finfo(dtype).eps}
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype is other.dtype
        if one.dtype is torch.int8:  # what lies between two steps may be rounded to either
            steps = (one.int() - other.int()).abs()
            assert int(steps.max()) <= 1
            # In bfloat16 a vector's largest number may be rounded otherwise, and all steps with it.
            assert dtype is BRAIN or float(steps.float().mean()) < 0.01
        else:
            torch.testing.assert_close(one, other, **off)


@kinds_and(FULL, HALF)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_kept_as_such_and_harms_no_neighbour(kind, dtype, value):
    joined = torch.randn(3, 3 * 32 + 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    joined[1, 32 + 3] = joined[1, 2 * 32 + 31] = value  # a key of one head, a value of the other
    cache = KINDS[kind](2, 16, BLOCK, dtype, DEVICE)
    both = torch.empty(3, 32 + 8, dtype=dtype, device=DEVICE)
    turns = torch.polar(torch.ones(3, 4), torch.zeros(3, 4)).to(DEVICE)
    slots = torch.tensor([5, 0, 9], device=DEVICE)
    TritonOperators().spread(joined.to(DEVICE), turns, slots, cache, both, 2)
    kept = cache.gather(slots.unsqueeze(1))[:, :, :, 0].cpu()  # [2, heads, rows, head]
    assert not kept[0, 0, 1].isfinite().all()
    assert not kept[1, 1, 1].isfinite().all()
    for half, head in ((0, 1), (1, 0)):
        assert kept[half, head].isfinite().all()
    assert kept[:, :, [0, 2]].isfinite().all()


@pytest.mark.parametrize("added", [True, False], ids=["with what is added", "alone"])
@pytest.mark.parametrize(("rows", "size"), [(1, 48), (3, 64), (2, 1030)])
@pytest.mark.parametrize("dtype", [FULL, HALF, BRAIN_ON_A_GPU], ids=str)
def test_the_sum_and_its_norm_are_torchs(dtype, rows, size, added):
    generator = torch.Generator().manual_seed(size)
    hidden, more = (torch.randn(2, rows, size, generator=generator) * 3 + 1).to(dtype).unbind()
    weight, bias = torch.randn(2, size, generator=generator).to(dtype).unbind()
    given_rows = hidden, more if added else None, weight, bias

    def normed_by(operators, device):
        moved = [None if each is None else each.to(device, copy=True) for each in given_rows]
        return [each.cpu() for each in operators.norm(*moved, 1e-5)]

    wanted = normed_by(TorchOperators(), torch.device("cpu"))
    found = normed_by(TritonOperators(), DEVICE)
    assert torch.equal(found[0], wanted[0])
    eps = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found[1], wanted[1], atol=max(eps, 1e-5), rtol=max(eps, 1e-5))


def every_byte(outs, width, generator):
    """Return a weight in which all the 256 bytes are, and its scales."""
    numbers = torch.arange(outs * width) % 256 - 128
    weight = numbers[torch.randperm(outs * width, generator=generator)].to(torch.int8)
    assert len(weight.unique()) == 256
    return weight.view(outs, width), torch.rand(outs, generator=generator) / 127 + 1e-3


SIZES = [(rows, 37, 101) for rows in (1, 2, 16, 21, 64)]
SIZES += [(1, 70, 301), (2, 70, 301), (64, 70, 301), (1, 3, 1500), (5, 3, 1500)]


# Of a long width several programs each take a part, where the outputs are few.
@pytest.mark.parametrize(
    ("stepped", "biased", "dtype"),
    [(True, True, HALF), (True, False, FULL), (False, True, FULL), (False, False, HALF)],
    ids=["bytes, biased", "bytes", "as the rows are, biased", "as the rows are"],
)
@pytest.mark.parametrize(("rows", "outs", "width"), SIZES)
def test_a_product_is_the_product_with_what_its_weights_stand_for(
    rows, outs, width, stepped, biased, dtype
):
    generator = torch.Generator().manual_seed(rows + outs)
    if stepped:
        weight, scales = every_byte(outs, width, generator)
        whole = weight.double() * scales.double().unsqueeze(1)
    else:
        scales, weight = None, torch.randn(outs, width, generator=generator).to(dtype)
        whole = weight.double()
    bias = torch.randn(outs, generator=generator).to(dtype) if biased else None
    asked = torch.randn(rows, width + 7, generator=generator).to(dtype)
    moved = [None if each is None else each.to(DEVICE) for each in (weight, scales, bias)]
    wanted = asked[:, :width].double() @ whole.T
    if bias is not None:
        wanted += bias.double()
    largest = float(wanted.abs().max())
    off = 5e-6 if dtype is FULL else 6e-4  # half a step of 11 bits, and a little
    for late in (0, 48):  # which numbers come late changes nothing about what comes out
        found = TritonProducts().multiply(asked.to(DEVICE)[:, :width], *moved, late).cpu()
        assert found.dtype is dtype
        torch.testing.assert_close(found.double(), wanted, atol=off * largest, rtol=0)
        if rows > 1:
            break


@pytest.mark.parametrize("dtype", [FULL, HALF, BRAIN_ON_A_GPU], ids=str)
@pytest.mark.parametrize(("outs", "width"), [(5, 200), (2, 4100)])
def test_bytes_are_widened_to_what_they_stand_for(outs, width, dtype):
    weight, scales = every_byte(outs, width, torch.Generator().manual_seed(0))
    found = TritonProducts().widen(weight.to(DEVICE), scales.to(DEVICE), dtype)
    assert torch.equal(found.cpu(), (weight * scales.unsqueeze(1)).to(dtype))


@pytest.mark.parametrize("dtype", [FULL, HALF], ids=str)
@pytest.mark.parametrize("biased", [True, False], ids=["biased", ""])
@pytest.mark.parametrize("rows", [1, 5, FEW_ROWS, FEW_ROWS + 1])
def test_products_with_triton_are_those_without(rows, biased, dtype):
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(40, 200, generator=generator).to(DEVICE, dtype)
    bias = torch.randn(40, generator=generator).to(DEVICE, dtype) if biased else None
    asked = torch.randn(rows, 200, generator=generator).to(DEVICE, dtype)
    off = {"atol": 1e-4, "rtol": 1e-4} if dtype is FULL else {"atol": 0.1, "rtol": 0.01}
    for with_triton, without in (
        (RowLinear, PlainLinear),
        (functools.partial(RowLinear, late=64), PlainLinear),
        (WeightOnlyLinear, WeightOnlyLinear),
    ):
        found = with_triton(weight, bias, products=TritonProducts())(asked)
        assert found.dtype is dtype
        torch.testing.assert_close(found, without(weight, bias)(asked), **off)
