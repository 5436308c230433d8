"""The loop: what is learned when, and that a training cut off goes on as if it had not been."""

import argparse
import json

import numpy as np
import pytest
import torch

from tests.fakes.tokenizer import make_tokenizer
from training import train
from training.model import Model, Size
from training.optimiser import Muon, orthogonal
from training.packed import PackedText
from training.train import Stage, Training

STAGE = Stage(6, plain=(1.0, 0.5), families=(0.5, 0.5), rate=(1.0, 0.1), warm_up=2)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    tokenizer = make_tokenizer()
    vocabulary = tokenizer.get_vocab_size()
    size = Size(vocabulary, width=32, layers=2, heads=2, rotary=8, context=256)
    monkeypatch.setattr(train, "Model", lambda: Model(size))
    monkeypatch.setattr(train, "ROWS", 2)
    monkeypatch.setattr(train, "SAVE", 1)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = np.random.default_rng(0).integers(5, vocabulary, 3000)
    ids.astype(np.uint16).tofile(tmp_path / "pretrain.bin")
    row = json.dumps({"source": "가", "text": "오늘은 날씨가 참 좋아요. " * 60})
    (tmp_path / "held_out.jsonl").write_text(row + "\n")
    return tmp_path


def given(runs, **changes):
    values = {"runs": runs, "corpus": None, "start": None, "threads": None, "seed": 1} | changes
    return argparse.Namespace(**values)


def weights(runs):
    return torch.load(runs / "tune.pt", weights_only=True)["model"]


def test_a_training_that_is_cut_off_goes_on_as_if_it_had_not_been(runs, tmp_path_factory):
    Training("tune", STAGE, given(runs)).run()
    whole = weights(runs)
    (runs / "tune.pt").unlink()

    cut = Training("tune", STAGE, given(runs))
    ended = RuntimeError("the power went")
    advance = cut._advance
    left = iter(range(3))

    def until_it_ends():
        if next(left, None) is None:
            raise ended
        return advance()

    cut._advance = until_it_ends
    with pytest.raises(RuntimeError, match="power"):
        cut.run()
    Training("tune", STAGE, given(runs)).run()
    for name, value in weights(runs).items():
        torch.testing.assert_close(value, whole[name], atol=1e-5, rtol=1e-4)


def test_too_little_held_out_text_is_said(runs):
    (runs / "held_out.jsonl").write_text('{"source": "가", "text": "짧아요."}\n')
    with pytest.raises(ValueError, match="fewer than 257 tokens"):
        Training("tune", STAGE, given(runs))


def test_a_stage_that_is_done_is_passed_by(runs):
    Training("tune", STAGE, given(runs)).run()
    log = (runs / "tune.jsonl").read_text()
    Training("tune", STAGE, given(runs)).run()
    assert (runs / "tune.jsonl").read_text() == log
    last = json.loads(log.splitlines()[-1])
    assert last["step"] == 6
    assert last["tokens"] == 6 * 2 * 256
    assert {"loss", "text", "chat"} <= last.keys()


def test_a_stage_begins_with_the_weights_of_the_one_before(runs):
    Training("tune", STAGE, given(runs)).run()
    next_one = Training("more", STAGE, given(runs, start=runs / "tune.pt"))
    for name, value in next_one._model.state_dict().items():
        torch.testing.assert_close(value, weights(runs)[name])


def test_shares_and_rates_go_in_a_straight_line():
    stage = Stage(11, plain=(1.0, 0.0), families=(0.5, 0.5), rate=(1.0, 0.0))
    assert [stage.at(stage.plain, step) for step in (0, 5, 10)] == [1.0, 0.5, 0.0]
    assert stage.at(stage.families, 7) == 0.5


def test_every_sequence_comes_once_an_epoch(tmp_path):
    np.arange(1001, dtype=np.uint16).tofile(tmp_path / "ids.bin")
    texts = PackedText(tmp_path / "ids.bin", 10, seed=3)
    tokens, labels, shares = texts.batch(0, 100)
    assert sorted(tokens[:, 0].tolist()) == list(range(0, 1000, 10))
    assert torch.equal(labels, tokens + 1)
    assert torch.equal(shares, torch.ones(100, 10))
    again, _, _ = texts.batch(100, 100)
    assert sorted(again[:, 0].tolist()) == list(range(0, 1000, 10))
    assert not torch.equal(again, tokens)
    part, _, _ = PackedText(tmp_path / "ids.bin", 10, seed=3).batch(40, 5)
    assert torch.equal(part, tokens[40:45])  # whatever came before
    assert texts.batch(0, 0)[0].shape == (0, 10)


def test_too_little_text_is_said(tmp_path):
    np.arange(9, dtype=np.uint16).tofile(tmp_path / "ids.bin")
    with pytest.raises(ValueError, match="fewer than 11 tokens"):
        PackedText(tmp_path / "ids.bin", 10, seed=3)


@pytest.mark.parametrize("shape", [(24, 60), (60, 24)])
def test_muon_steps_as_torchs_does(shape):
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(3)]
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    muon = Muon([ours], lr=3e-3)
    torchs = torch.optim.Muon(
        [theirs], lr=3e-3, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        torchs.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.03 * moved  # torch's is in bf16


def test_an_orthogonal_matrix_has_singular_values_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(30, 80)))
    assert values.min() > 0.6
    assert values.max() < 1.3
