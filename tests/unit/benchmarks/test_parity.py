"""The gate: an engine in float32 answers as transformers does, but where two tokens are level."""

import json

import pytest
import torch
from transformers import GPTJForCausalLM

from benchmarks.engine import run as benchmark
from benchmarks.engine.measure import Run
from benchmarks.engine.parity import BASE, ENDED, TIE, compare, exact, judge
from benchmarks.engine.worker import PEERS, read
from tests.fakes.checkpoints import SMALL, make_checkpoint

OURS = "ours:float32"


def round_of(engine, answers, prompts=None):
    prompts = prompts or [(n,) for n in range(len(answers))]
    return Run(engine, "C", 0, prompts=prompts, answers=answers)


def test_where_an_answer_first_differs_transformers_is_asked():
    base = round_of(BASE, [[1, 2, 3], [4, 5, 6]], [(7, 8), (9,)])
    ours = round_of(OURS, [[1, 2, 3], [4, 0, 0]], [(7, 8), (9,)])
    counts, [difference] = compare([ours, base])  # in any order
    assert (counts[OURS].equal, counts[OURS].of) == (1, 2)
    assert difference.question == ((9, 4), 5, 0)


@pytest.mark.parametrize(("gap", "ties", "wrong"), [(TIE / 2, 1, 0), (2 * TIE, 0, 1)])
def test_level_tokens_are_a_tie_and_others_are_wrong(gap, ties, wrong):
    counts, differences = compare([round_of(BASE, [[1]]), round_of(OURS, [[2]])])
    [line] = judge(counts, differences, [gap])
    assert (counts[OURS].ties, counts[OURS].wrong) == (ties, wrong)
    assert "C, round 1, answer 1, token 1: 2 where transformers has 1" in line


def test_what_follows_another_answer_is_not_compared():
    base = round_of(BASE, [[1], [3]], [(7,), (7, 1)])
    ours = round_of(OURS, [[2], [3]], [(7,), (7, 2)])
    counts, differences = compare([base, ours])
    assert len(differences) == 1
    assert (counts[OURS].equal, counts[OURS].after) == (0, 1)


@pytest.mark.parametrize("short", [[1], []])
def test_an_answer_that_ends_early_is_wrong(short):
    counts, [difference] = compare([round_of(BASE, [[1, 2]]), round_of(OURS, [short])])
    assert difference.question is None
    judge(counts, [difference], [ENDED])
    assert counts[OURS].wrong == 1


@pytest.mark.parametrize(
    ("engine", "judged"),
    [
        ("ours:float32", True),
        ("ours:float16", False),
        ("ours:int8", False),
        ("ours:float32-kv8", False),
    ],
)
def test_only_engines_in_float32_are_judged(engine, judged):
    counts, differences = compare([round_of(BASE, [[1]]), round_of(engine, [[2]])])
    assert exact(engine) == judged
    assert len(differences) == judged
    assert counts[engine].of == 1


def test_rounds_are_compared_with_their_own():
    runs = [
        Run(name, "A", n, prompts=[(n,)], answers=[[n]]) for n in (0, 1) for name in (BASE, OURS)
    ]
    counts, differences = compare(runs)
    assert (counts[OURS].equal, counts[OURS].of, differences) == (2, 2, [])


def test_gaps_are_those_of_the_models_logits(tmp_path):
    folder = make_checkpoint(tmp_path / "small", **SMALL)
    peer = read("peer_transformers", PEERS / "transformers.py").Peer(str(folder), "float32", 1)
    prefix = [11, 12, 13, 14]
    with torch.inference_mode():
        logits = GPTJForCausalLM.from_pretrained(folder)(torch.tensor([prefix])).logits[0, -1]
    found = peer.gaps([(prefix, 20, 21), (prefix, 21, 20), (prefix, 5, 5)])
    assert found == pytest.approx([abs(float(logits[20] - logits[21]))] * 2 + [0.0], abs=1e-6)


class FakeWorker:
    """Answers each request with its number; one engine has another second token."""

    absent, version, gap = "", "1", 0.0

    def __init__(self, name):
        self.name = name

    def ask(self, question, report=None):
        took = {"wall": 2.0, "cpu": 1.0}
        if "gaps" in question:
            assert self.name == BASE
            return took | {"gaps": [self.gap for _ in question["gaps"]]}
        if "arrivals" in question:
            return took | {"firsts": [0.5] * question["arrivals"]["requests"]}
        answers = [[n] * count for n, (_, count) in enumerate(question["wave"])]
        if self.name == OURS:
            answers[-1][1] += 1
        return took | {"answers": [(tokens, 0.2, 0.1) for tokens in answers]}

    def end(self):
        pass


@pytest.mark.parametrize(("gap", "status"), [(1e-6, 0), (0.5, 1)])
def test_a_wrong_answer_ends_the_run_with_status_1(gap, status, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "start", lambda name, *_: FakeWorker(name))
    monkeypatch.setattr(benchmark.checkpoints, "make", lambda folder, _: folder)
    monkeypatch.setattr(FakeWorker, "gap", gap)
    asked = ["--folder", str(tmp_path), "--checkpoint", "tiny", "--rounds", "1", "--requests", "4"]
    engines = ["--engines", "ours", "openvino", "transformers"]
    assert benchmark.main([*asked, "--workloads", "C", "D", *engines]) == status
    out, err = capsys.readouterr()
    assert ("1 WRONG" in out) == bool(status)
    assert "| openvino:float32 | 320 / 160 (1.0x), 0.10 / 0.20 s (1/1) | 80 of 80 |" in out
    assert "50% of what ours:float32 answers of 16 at once" in out
    found = json.loads((tmp_path / "tiny-CD.json").read_text())
    # The last channel's first answer differs; its other nine are to another prompt.
    wanted = {"equal": 70, "of": 80, "ties": 1 - status, "after": 9, "wrong": status}
    assert found["parity"][OURS] == wanted
    assert found["differences"][0] in err
