"""What a GPU runs, without one: its kernels compile for it, and the model is exact with them."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from kogpt_bot.generation.cuda_graphs import DecodeGraphs
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.operators import TorchOperators
from tests.fakes.checkpoints import make_checkpoint
from tests.fakes.steps import eager, step

triton = pytest.importorskip("triton", reason="comes with torch's CUDA builds, and with .ci/run")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

from kogpt_bot.generation.triton_attention import TritonAttention  # noqa: E402
from kogpt_bot.generation.triton_operators import TritonOperators  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KIB = 1024
SHARED = {80: 99 * KIB, 90: 227 * KIB}  # of a program; 80: Ada's and consumers' Ampere's, too


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return what each kernel takes of shared memory, as the engine calls it for KoGPT."""
    if not (Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas").exists():
        pytest.skip("this Triton has no ptxas, which assembles for NVIDIA's GPUs")
    # The interpreter's variable would have these kernels interpreted there, too.
    kept = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fakes.offline_gpu", *map(str, SHARED)],
        env=kept | {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line.split() for line in ended.stdout.splitlines()]
    return [(int(capability), name, int(shared)) for capability, name, shared in lines]


@pytest.mark.parametrize("capability", SHARED)
def test_kernels_compile_for_a_gpu_and_fit_in_its_shared_memory(compiled, capability):
    found = [(name, shared) for on, name, shared in compiled if on == capability]
    assert {name for name, _ in found} >= {"_look", "_read", "_spread", "_multiply_row"}
    assert [each for each in found if each[1] > SHARED[capability]] == []


# Little enough for the interpreter; a row's blocks are shared by two programs.
TINY = {"n_embd": 32, "n_layer": 2, "n_head": 2, "rotary_dim": 8, "n_positions": 128}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "model", **TINY)


@pytest.fixture(scope="module", params=["auto", "int8"], ids="cache {}".format)
def pair(request, checkpoint):
    folder = checkpoint
    options = LoadOptions(str(folder), device="cpu", dtype="float32", kv_cache_dtype=request.param)
    ours = load(options).model
    ours._kernels, ours._paged, ours._operators = None, TritonAttention(), TritonOperators()
    return ours, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


ON_THE_CPU = pytest.mark.skipif(DEVICE.type != "cpu", reason="the model of this test is on the CPU")


def is_exact(model):
    return model.cache_bytes_per_token == 4 * model.shape.layers * 2 * model.shape.width


def wanted(oracle, ids):
    with torch.no_grad():
        return oracle(torch.tensor([ids])).logits[0]


@ON_THE_CPU
def test_prompts_in_chunks_beside_rows_that_write_have_transformers_logits(pair, monkeypatch):
    ours, oracle = pair
    generator = torch.Generator().manual_seed(0)
    long = 66 if is_exact(ours) else 20  # more than are read at once; once is enough
    lengths = long + 6, 14, 6
    texts = [torch.randint(5, 600, (n,), generator=generator).tolist() for n in lengths]
    tables = [[9, 1, 3, 0, 8], [2], [6]]
    steps = [  # each: from where to where each text is computed
        [(2, 0, 5)],
        [(2, 5, 6), (0, 0, long), (1, 0, 9)],
        [(1, 9, 10), (0, long, long + 1)],
        [(1, 10, 14), (0, long + 1, long + 5)],
        [(0, long + 5, long + 6)],
    ]

    def run():
        store = ours.new_store(10)
        ours._recorded = None  # there is nothing to record a graph with
        found = [torch.empty(len(text), ours.shape.vocabulary) for text in texts]
        for parts in steps:
            logits = step(ours, store, [(tables[n], texts[n][a:b], a) for n, a, b in parts])
            at = 0
            for n, begin, end in parts:
                found[n][begin:end] = logits[at : at + end - begin]
                at += end - begin
        return found

    found = run()
    if is_exact(ours):
        for logits, text in zip(found, texts, strict=True):
            torch.testing.assert_close(logits, wanted(oracle, text), atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(ours, "_operators", TorchOperators())
    monkeypatch.setattr(ours, "_paged", None)
    for logits, plain in zip(found, run(), strict=True):
        torch.testing.assert_close(logits, plain, atol=1e-4 if is_exact(ours) else 0.05, rtol=1e-4)


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


@ON_THE_CPU
def test_the_model_gives_the_same_through_pages_and_graphs(pair):
    ours, oracle = pair
    texts = [[7, 8, 9, *range(10, 24)], [11], [5] * 15]
    tables = [[4, 1], [0], [5, 2]]
    spare = 7
    store = ours.new_store(8)
    ours._recorded = None  # there is nothing to record a graph with
    for ids, table in zip(texts, tables, strict=True):
        if len(ids) > 1:
            step(ours, store, [(table, ids[:-1], 0)])
    recorded = DecodeGraphs(
        functools.partial(ours._decode, store), ours._paged, DEVICE,
        ours.shape.context, ours.shape.vocabulary, spare=spare, erase=store.erase, capture=eager,
    )  # fmt: skip
    for number in range(3):
        logits = write(ours, store, texts, tables, recorded if number % 2 else None)
        if is_exact(ours):
            for ids, row in zip(texts, logits, strict=True):
                torch.testing.assert_close(row, wanted(oracle, ids[:-1])[-1], atol=1e-4, rtol=1e-4)
    assert list(recorded._graphs) == [4]  # three rows, and one that fills up
    # A prompt beside rows that write.
    mixed = [(tables[0], texts[0][-1:], len(texts[0]) - 1), (tables[1], [3, 4, 5], 3)]
    together = step(ours, store, mixed)
    alone = torch.cat([step(ours, store, [part]) for part in mixed])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    again = write(ours, store, [ids[:-1] for ids in texts], tables)
    graphed = write(ours, store, [ids[:-1] for ids in texts], tables, recorded)
    torch.testing.assert_close(again, graphed, atol=1e-5, rtol=1e-5)
