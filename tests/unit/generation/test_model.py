"""Our forward pass against transformers' GPTJForCausalLM, the oracle."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.model import Segment

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module", params=["small", "kogpt-like", "tied"])
def pair(request, checkpoints):
    folder = checkpoints[request.param]
    ours = load(LoadOptions(model=str(folder), device="cpu", dtype="float32")).model
    return ours, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def run(model, parts):
    """Run one step over (cache, tokens, start) and return the logits of every row."""
    segments, tokens, positions = [], [], []
    for cache, ids, start in parts:
        segments.append(Segment(cache, len(tokens), len(ids), start, len(ids)))
        tokens += ids
        positions += range(start, start + len(ids))
    return model.forward(torch.tensor(tokens), torch.tensor(positions), segments)


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
    logits = run(ours, [(ours.new_cache(length), ids, 0)])
    torch.testing.assert_close(logits, expected(oracle, ids), atol=1e-4, rtol=1e-4)


def test_reading_in_chunks_and_token_by_token_gives_the_same(pair):
    ours, oracle = pair
    ids = prompt(50)
    cache = ours.new_cache(60)
    pieces = [
        run(ours, [(cache, ids[begin:end], begin)])
        for begin, end in ((0, 20), (20, 21), (21, 48), (48, 49), (49, 50))
    ]
    torch.testing.assert_close(torch.cat(pieces), expected(oracle, ids), atol=1e-4, rtol=1e-4)


def test_neighbours_in_a_batch_do_not_touch_each_other(pair):
    ours, oracle = pair
    sequences = [prompt(length, seed) for seed, length in enumerate((3, 40, 1, 17))]
    caches = [ours.new_cache(64) for _ in sequences]
    run(ours, [(caches[1], sequences[1][:25], 0)])
    starts = [0, 25, 0, 0]
    logits = run(
        ours,
        [(c, ids[s:], s) for c, ids, s in zip(caches, sequences, starts, strict=True)],
    )
    wanted = torch.cat(
        [expected(oracle, ids)[s:] for ids, s in zip(sequences, starts, strict=True)]
    )
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)


def test_a_copied_prefix_gives_the_same_logits_as_a_fresh_one(pair):
    ours, oracle = pair
    ids = prompt(40)
    donor, taker = ours.new_cache(64), ours.new_cache(50)
    run(ours, [(donor, ids[:30], 0)])
    taker.copy_from(donor, 30)
    logits = run(ours, [(taker, ids[30:], 30)])
    torch.testing.assert_close(logits, expected(oracle, ids)[30:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_half_precision_stays_near(checkpoints, dtype):
    ours = load(LoadOptions(model=str(checkpoints["small"]), device="cpu", dtype=dtype)).model
    oracle = AutoModelForCausalLM.from_pretrained(checkpoints["small"], dtype=torch.float32).eval()
    ids = prompt(40)
    logits = run(ours, [(ours.new_cache(40), ids, 0)])
    spread = expected(oracle, ids).std()
    assert float((logits - expected(oracle, ids)).abs().mean()) < 0.05 * spread
