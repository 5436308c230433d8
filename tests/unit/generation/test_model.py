"""Our forward pass against transformers' GPTJForCausalLM, the oracle."""

from dataclasses import replace
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM

from kogpt_bot.generation import attention
from kogpt_bot.generation.kv_blocks import BLOCK, Move, Tier
from kogpt_bot.generation.loading import LoadOptions, load
from tests.fakes.steps import run, step

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NEAR = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module", params=["small", "kogpt-like", "tied"])
def pair(request, checkpoints):
    folder = checkpoints[request.param]
    ours = load(LoadOptions(model=str(folder), device="cpu", dtype="float32")).model
    return ours, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def prompt(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, 600, (length,), generator=generator).tolist()


def expected(oracle, ids):
    with torch.no_grad():
        return oracle(torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("length", [1, 2, 37, 256])
def test_logits_are_equal(pair, length):
    ours, oracle = pair
    ids = prompt(length)
    torch.testing.assert_close(run(ours, ids), expected(oracle, ids), **NEAR)


@pytest.mark.parametrize("name", ["small", "tied"])
def test_weights_in_bytes_with_whole_rows_are_near(checkpoints, monkeypatch, name):
    options = LoadOptions(model=str(checkpoints[name]), device="cpu", dtype="float32")
    exact = run(load(options).model, prompt(40))
    monkeypatch.setattr("kogpt_bot.generation.model.choose", lambda *_: "weight_only")  # a GPU's
    found = run(load(replace(options, quantization="int8")).model, prompt(40))
    error = float((found - exact).abs().max() / exact.std())
    assert 0 < error < 0.1


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("table", [[0, 1, 2, 3], [3, 2, 1, 0], [5, 6, 1, 2], [0, 1, 7, 3]], ids=str)
def test_reading_in_chunks_and_token_by_token_gives_the_same_wherever_the_blocks_lie(
    pair, monkeypatch, table, compiled
):
    ours, oracle = pair
    if not compiled:
        monkeypatch.setattr(ours, "_kernels", None)
    ids = prompt(50)
    store = ours.new_store(8)
    pieces = [
        step(ours, store, [(table, ids[begin:end], begin)])
        for begin, end in ((0, 20), (20, 21), (21, 48), (48, 49), (49, 50))
    ]
    torch.testing.assert_close(torch.cat(pieces), expected(oracle, ids), **NEAR)


def test_neighbours_in_a_batch_do_not_touch_each_other(pair):
    ours, oracle = pair
    sequences = [prompt(length, seed) for seed, length in enumerate((3, 40, 1, 17))]
    tables = [[0], [4, 1, 2], [3], [5, 7]]
    store = ours.new_store(8)
    step(ours, store, [(tables[1], sequences[1][:25], 0)])
    starts = [0, 25, 0, 0]
    logits = step(
        ours,
        store,
        [(t, ids[s:], s) for t, ids, s in zip(tables, sequences, starts, strict=True)],
    )
    wanted = torch.cat(
        [expected(oracle, ids)[s:] for ids, s in zip(sequences, starts, strict=True)]
    )
    torch.testing.assert_close(logits, wanted, **NEAR)


@pytest.mark.parametrize("way", ["compiled", "views", "gathered"])
def test_rows_that_share_a_beginning_look_at_it_together_and_see_the_same(pair, monkeypatch, way):
    ours, oracle = pair
    monkeypatch.setattr(attention, "GATHERING", {"cpu"} if way == "gathered" else set())
    if way == "views":
        monkeypatch.setattr(ours, "_kernels", None)
    elif way == "compiled" and ours._kernels is None:
        pytest.skip("numba is not installed")
    beginning = prompt(2 * BLOCK)
    ends = [prompt(length, 9 + length) for length in (1, 20, 5, 33)]
    own = [[2], [3, 4], [5], [9, 7, 8]]
    tables = [[0, 1, *blocks] for blocks in own]
    store = ours.new_store(10)
    for tensor in (each for layer in store.layers for each in layer.tensors):
        tensor.fill_(float("nan"))  # nobody looks at what was not written
    step(ours, store, [([0, 1], beginning, 0)])
    for table, end in zip(tables, ends, strict=True):
        if len(end) > 1:
            step(ours, store, [(table, end[:-1], 2 * BLOCK)])
    parts = [
        (table, end[-1:], 2 * BLOCK + len(end) - 1) for table, end in zip(tables, ends, strict=True)
    ]
    wanted = torch.stack([expected(oracle, beginning + end)[-1] for end in ends])
    torch.testing.assert_close(step(ours, store, parts), wanted, **NEAR)
    # In another order, with a stranger in between, and alone:
    apart = [parts[2], ([6], prompt(1), 0), parts[0]]
    together = step(ours, store, apart)
    torch.testing.assert_close(together[[0, 2]], wanted[[2, 0]], **NEAR)


@pytest.mark.parametrize("way", [Tier.WITHIN, Tier.OUT])
def test_a_moved_prefix_gives_the_same_logits_as_a_fresh_one(pair, way):
    ours, oracle = pair
    ids = prompt(40)
    store = ours.new_store(8, host_blocks=3)
    step(ours, store, [([0, 1], ids[:30], 0)])
    if way is Tier.WITHIN:
        store.carry_out([Move(way, 0, 5), Move(way, 1, 6, tokens=14)])
    else:
        store.carry_out([Move(Tier.OUT, 0, 2), Move(Tier.OUT, 1, 1)])
        for tensor in (each for layer in store.layers for each in layer.tensors):
            tensor[:, :, : 2 * BLOCK] = float("nan")
        store.carry_out([Move(Tier.IN, 1, 6), Move(Tier.IN, 2, 5)])
    logits = step(ours, store, [([5, 6, 7], ids[30:], 30)])
    torch.testing.assert_close(logits, expected(oracle, ids)[30:], **NEAR)


def test_memory_of_free_blocks_can_be_given_back_and_used_again(pair):
    ours, oracle = pair
    ids = prompt(40)
    store = ours.new_store(600)
    step(ours, store, [([500, 501, 502], ids[:30], 0)])
    store.release([(0, 500), (503, 97)])
    logits = step(ours, store, [([500, 501, 502], ids[30:], 30)])
    torch.testing.assert_close(logits, expected(oracle, ids)[30:], **NEAR)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": "float32"}, 1e-5),
        ({"dtype": "float16"}, 0.01),
        ({"dtype": "bfloat16"}, 0.05),
        ({"dtype": "float32", "quantization": "int8"}, 0.1),
        ({"dtype": "float32", "kv_cache_dtype": "int8"}, 0.02),
        ({"dtype": "bfloat16", "kv_cache_dtype": "int8"}, 0.05),
    ],
    ids=str,
)
def test_fewer_bits_stay_near(checkpoints, options, error):
    folder = str(checkpoints["kogpt-like"])
    ours = load(LoadOptions(model=folder, device="cpu", **options)).model
    oracle = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = prompt(40)
    wanted = expected(oracle, ids)
    assert float((run(ours, ids) - wanted).abs().mean()) < error * wanted.std()


def test_in_int8_a_row_does_not_change_with_its_neighbours(checkpoints):
    folder = str(checkpoints["kogpt-like"])
    options = LoadOptions(model=folder, device="cpu", dtype="float32", quantization="int8")
    ours = load(options).model
    store = ours.new_store(8)
    alone = step(ours, store, [([0], prompt(9), 0)])
    beside = step(ours, store, [([1, 2, 3], prompt(40, 4), 0), ([0], prompt(9), 0)])
    torch.testing.assert_close(beside[40:], alone, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def in_bytes(checkpoints):
    options = {"device": "cpu", "dtype": "float32", "kv_cache_dtype": "int8"}
    return load(LoadOptions(model=str(checkpoints["kogpt-like"]), **options)).model


def apart(found, wanted):
    """Return how far logits are from others, in their standard deviations."""
    return float((found - wanted).abs().mean() / wanted.std())


@pytest.mark.parametrize("way", ["compiled", "views", "gathered"])
def test_an_int8_cache_gives_the_same_however_it_is_read(in_bytes, monkeypatch, way):
    ids, table = prompt(50), [0, 1, 7, 3]
    whole = run(in_bytes, ids)
    monkeypatch.setattr(attention, "GATHERING", {"cpu"} if way == "gathered" else set())
    if way != "compiled":
        monkeypatch.setattr(in_bytes, "_kernels", None)
    elif in_bytes._kernels is None:
        pytest.skip("numba is not installed")
    store = in_bytes.new_store(8)
    for begin, end in ((0, 20), (20, 48)):
        step(in_bytes, store, [(table, ids[begin:end], begin)])
    rows = [(table, ids[48:49], 48), ([0, 1, 5], prompt(1, 3), 33)]
    assert apart(step(in_bytes, store, rows)[0], whole[48]) < 1e-3
    # A rounding that falls on the other side is a step of one in 127, in one place.
    assert apart(step(in_bytes, store, [(table, ids[49:], 49)])[0], whole[49]) < 1e-3


def test_an_int8_cache_moves_with_its_scales(in_bytes):
    ids = prompt(40)
    store = in_bytes.new_store(8, host_blocks=3)
    step(in_bytes, store, [([0, 1], ids[:30], 0)])
    store.carry_out([Move(Tier.OUT, 0, 2), Move(Tier.OUT, 1, 1)])
    for layer in store.layers:
        numbers, scales = layer.tensors
        numbers[:, :, : 2 * BLOCK], scales[:, :, : 2 * BLOCK] = 0, float("nan")
    store.carry_out([Move(Tier.IN, 1, 6), Move(Tier.IN, 2, 5)])
    assert apart(step(in_bytes, store, [([5, 6, 7], ids[30:], 30)]), run(in_bytes, ids)[30:]) < 1e-3


def test_an_int8_cache_takes_a_quarter_of_the_memory_and_a_scale(in_bytes, pair):
    shape, store = in_bytes.shape, in_bytes.new_store(4)
    taken = sum(each.nbytes for layer in store.layers for each in layer.tensors)
    assert in_bytes.cache_bytes_per_token == taken / (4 * BLOCK)
    assert taken / (4 * BLOCK) == 2 * shape.layers * (shape.width + 4 * shape.heads)
    whole = pair[0].new_store(4)
    taken = sum(each.nbytes for layer in whole.layers for each in layer.tensors)
    assert pair[0].cache_bytes_per_token == taken / (4 * BLOCK)


def test_a_row_with_nan_in_an_int8_cache_is_seen_by_no_other(in_bytes):
    store = in_bytes.new_store(8)
    step(in_bytes, store, [([0], prompt(9), 0), ([1], prompt(9, 4), 0)])
    for layer in store.layers:
        keys = torch.full((1, 2, in_bytes.shape.heads, in_bytes.shape.head), float("nan"))
        layer.write(torch.tensor([3]), keys)
    logits = step(in_bytes, store, [([0], [7], 9), ([1], [7], 9)])
    assert not logits[0].isfinite().any()
    assert logits[1].isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_share_beginnings_of_beginnings_see_the_same(pair, seed):
    ours, oracle = pair
    random = Random(seed)
    store, tables, texts = ours.new_store(64), [[]], [[]]
    free = list(range(64))
    for _ in range(9):  # each goes on from what another has, to the end of one of its blocks
        number = random.randrange(len(tables))
        blocks = random.randint(0, len(tables[number]))
        table, text = tables[number][:blocks], texts[number][: blocks * BLOCK]
        for _ in range(random.randint(1, 3)):
            table, text = [*table, free.pop()], text + prompt(BLOCK, len(free))
            step(ours, store, [(table, text[-BLOCK:], len(text) - BLOCK)])
        tables.append(table)
        texts.append(text)
    for table in tables:
        table.append(free.pop())
    rows = sorted(zip(tables, texts, strict=True))
    found = step(ours, store, [(table, [7], len(text)) for table, text in rows])
    wanted = torch.stack([expected(oracle, [*text, 7])[-1] for _, text in rows])
    torch.testing.assert_close(found, wanted, **NEAR)
