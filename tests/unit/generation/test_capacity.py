"""How large the cache is: by what each device has free, by what is asked for, never beyond it."""

import types

import pytest
import torch

from kogpt_bot.errors import ModelError
from kogpt_bot.generation import capacity, limits
from kogpt_bot.generation.capacity import GIB
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.kv_blocks import BLOCK
from kogpt_bot.generation.kv_store import (
    CacheDtype,
    FullCache,
    Int8Cache,
    bytes_per_token,
    pinned_bytes,
    tensor_bytes,
)
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.model import Shape

CPU, FIRST, SECOND = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)
KOGPT = Shape(28, 16, 4096, 16384, 64, 64_512, 2048)


def model(devices, tensors=(1024,), context=2048):
    """A model of so many layers whose cache has so many bytes a token in a layer's tensors."""
    return types.SimpleNamespace(
        devices=devices,
        cache_tensors=tensors,
        cache_bytes_per_token=len(devices) * sum(tensors),
        shape=types.SimpleNamespace(context=context),
    )


@pytest.fixture
def free(monkeypatch):
    """Return a function that says how many bytes are free on the GPUs, and in the main memory."""

    def say(*gpus, main=0):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (gpus[d.index], 1 << 60))
        monkeypatch.setattr(limits, "free_memory", lambda: main)

    return say


def test_half_of_what_is_free_holds_the_cache(free):
    free(GIB, main=3 * GIB)
    assert capacity.device_tokens(model([FIRST] * 4), 1000) == GIB // 2 // 4096
    assert capacity.device_tokens(model([CPU] * 4), 1000) == 3 * GIB // 2 // 4096


def test_the_fullest_gpu_decides_for_all(free):
    free(GIB, 6 * GIB)
    assert capacity.device_tokens(model([FIRST] + [SECOND] * 3), 1000) == GIB // 2 // 1024
    free(6 * GIB, GIB)
    assert capacity.device_tokens(model([FIRST] + [SECOND] * 3), 1000) == GIB // 2 // 3072


def test_neither_tier_is_larger_than_what_is_asked_for(free):
    free(1 << 50, main=1 << 50)
    for devices in ([CPU], [FIRST]):
        assert capacity.device_tokens(model(devices), 8) == 4 * 8 * 2048
    assert capacity.host_tokens(model([FIRST]), 8) == 4 * 8 * 2048


def test_a_quarter_of_the_main_memory_holds_what_a_gpu_gives_up(free):
    free(main=GIB)
    assert capacity.host_tokens(model([FIRST] * 4), 1000) == GIB // 4 // 4096
    assert capacity.host_tokens(model([CPU] * 4), 1000) == 0


@pytest.mark.parametrize("tensors", [(1024,), (1000,), (1024, 64), (1000, 24)])
@pytest.mark.parametrize("budget", [0, 20_000, 100_000, 1_000_000, 3_000_000])
def test_pinned_memory_stays_within_its_budget_as_torch_rounds_it(tensors, budget):
    under_test = model([FIRST] * 3, tensors)
    blocks = capacity.pinned_tokens(under_test, budget) // BLOCK
    assert 3 * pinned_bytes(blocks, tensors) <= budget < 3 * pinned_bytes(blocks + 1, tensors)


def test_pinned_memory_is_powers_of_two():
    assert pinned_bytes(0, (1024, 64)) == 0
    assert pinned_bytes(4, (1024, 64)) == (1 << 16) + (1 << 12)
    assert pinned_bytes(5, (1024, 64)) == (1 << 17) + (1 << 13)


@pytest.mark.parametrize(
    ("kind", "kept"), [(FullCache, CacheDtype.AUTO), (Int8Cache, CacheDtype.INT8)]
)
def test_what_is_counted_is_what_a_layer_has(kind, kept):
    tensors = kind(3, 20, 2 * BLOCK, torch.float16).tensors
    counted = tensor_bytes(3, 20, torch.float16, kept)
    assert [each.nbytes for each in tensors] == [2 * BLOCK * each for each in counted]
    assert bytes_per_token(3, 20, torch.float16, kept) == sum(counted)


def test_one_context_is_planned_for_unless_more_is_wished():
    def planned(gib, dtype=torch.float16, kept=CacheDtype.AUTO):
        return capacity.planned_bytes(KOGPT, dtype, kept, gib)

    least = (2048 + 16) * 448 * 1024
    assert planned(None) == least
    assert planned(None, torch.float32) == 2 * least
    assert planned(None, kept=CacheDtype.INT8) == least // 448 * 227.5
    assert planned(3) == 3 * GIB
    with pytest.raises(ModelError, match=r"^kv_cache_gib 0.5: allowed: 0.883 at least, since"):
        planned(0.5)
    assert planned(0.883) == int(0.883 * GIB)
    with pytest.raises(ModelError, match="kv_cache_gib nan"):
        planned(float("nan"))


def test_wishes(free):
    free(1, main=GIB)
    under_test = model([FIRST] * 4)
    assert capacity.wished_tokens(under_test, None) is None
    assert capacity.wished_tokens(under_test, 2) == 2 * GIB // 4096
    assert capacity.wished_host_tokens(under_test, None) is None
    assert capacity.wished_host_tokens(under_test, 0) == 0
    assert capacity.wished_host_tokens(under_test, 1) == GIB // 4096
    assert capacity.wished_host_tokens(model([CPU]), 64) == 0  # for a GPU: here it takes nothing
    for wrong in (1.5, -1, float("nan")):
        with pytest.raises(ModelError, match=r"^host_cache_gib .*: allowed: 0 to 1.0, which are"):
            capacity.wished_host_tokens(under_test, wrong)


@pytest.fixture
def options(checkpoints):
    def make(**fields):
        return LoadOptions(str(checkpoints["small"]), device="cpu", dtype="float32", **fields)

    return make


def test_an_engine_has_the_cache_that_was_wished(options):
    engine = Engine.load(options(kv_cache_gib=0.01))
    assert engine.stats().blocks == int(0.01 * GIB) // engine._model.cache_bytes_per_token // BLOCK
    with pytest.raises(ModelError, match=r"kv_cache_gib 0\.0001: allowed"):
        Engine.load(options(kv_cache_gib=0.0001))


def test_an_engine_has_room_for_one_context_however_little_is_free(options, free):
    loaded = load(options())
    free(main=0)
    blocks = Engine(loaded).stats().blocks
    assert blocks == capacity.least_blocks(loaded.info.context_length)
    free(main=GIB)
    assert Engine(loaded, max_sequences=2).stats().blocks * BLOCK == 8 * loaded.info.context_length


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nsome"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nto"),
        torch.AcceleratorError("CUDA error: out of memory\nCompile with"),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("where", ["load", "Stepper"])
def test_out_of_memory_at_the_start_is_one_line_that_says_what_helps(
    options, monkeypatch, error, where
):
    def fail(*_arguments):
        raise error

    monkeypatch.setattr(f"kogpt_bot.generation.engine.{where}", fail)
    with pytest.raises(ModelError, match=r"memory ran out while .* kv_cache_gib") as found:
        Engine.load(options())
    assert "\n" not in str(found.value)


def test_another_error_at_the_start_stays_what_it_is(options, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr("kogpt_bot.generation.engine.load", fail)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        Engine.load(options())
