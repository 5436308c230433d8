"""Small random GPT-J checkpoints, made with transformers, and a byte-level tokenizer."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.model import GPTJ
from tests.fakes.checkpoints import KOGPT_LIKE, SMALL, TIED, make_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Return shape name -> folder."""
    root = tmp_path_factory.mktemp("checkpoints")
    shapes = {"small": SMALL, "kogpt-like": KOGPT_LIKE, "tied": TIED}
    return {name: make_checkpoint(root / name, **shape) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def oracle(checkpoints):
    """Return transformers' own model."""
    return AutoModelForCausalLM.from_pretrained(checkpoints["small"], dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def small(checkpoints):
    """Return the same, loaded for our engine."""
    return load(LoadOptions(model=str(checkpoints["small"]), device="cpu", dtype="float32"))


@pytest.fixture
async def engine(small):
    """Return a running engine for few and short requests."""
    engine = Engine(small, max_sequences=4, step_tokens=32, cache_tokens=1024)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture(scope="session")
def weighted(checkpoints):
    """Return a model with its tokenizer, for `loaded`."""
    return load(LoadOptions(model=str(checkpoints["tied"]), device="cpu", dtype="float32"))


@pytest.fixture
def loaded(weighted, monkeypatch):
    """Return a model whose logits depend on a token and its position alone: to the last bit the
    same in any company."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(997, weighted.info.vocab_size, generator=generator) * 3

    def forward(_store, tokens, positions, _slots, segments):
        rows = [
            each.row + each.length - each.want + n for each in segments for n in range(each.want)
        ]
        return table[(tokens[rows] * 31 + positions[rows] * 17) % len(table)]

    monkeypatch.setattr(weighted.model, "forward", forward)
    return weighted


@pytest.fixture
def either_way(monkeypatch):
    """Return a function that does something with a device that is waited for, and with one that
    works by itself; it returns what came of each."""

    def both(act):
        found = []
        for asynchronous in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(GPTJ, "asynchronous", asynchronous)
                found.append(act())
        return found

    return both
