"""Small random GPT-J checkpoints, made with transformers, and a byte-level tokenizer."""

import pytest

from tests.fakes.checkpoints import KOGPT_LIKE, SMALL, TIED, make_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Return shape name -> folder."""
    root = tmp_path_factory.mktemp("checkpoints")
    shapes = {"small": SMALL, "kogpt-like": KOGPT_LIKE, "tied": TIED}
    return {name: make_checkpoint(root / name, **shape) for name, shape in shapes.items()}
