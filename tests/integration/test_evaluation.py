"""`kogpt-bot eval` through the harness and our own API, against the model asked directly."""

import itertools
import json
import subprocess
import sys
import urllib.request

import pytest

from kogpt_bot.evaluation.data import BENCHMARKS, Item, draw_shots, read
from kogpt_bot.evaluation.harness import prompts, run, task
from kogpt_bot.evaluation.served import own_service

pytest.importorskip("lm_eval", reason="no lm-eval: pip install 'kogpt-bot[evaluation]'")

SUBJECTS = ["배우들의 연기가", "음악이", "결말이", "화면이", "이야기가", "대사가", "첫 장면이"]
VERDICTS = [("참 좋았어요", 1), ("너무 지루했어요", 0), ("기대보다 훌륭해요", 1), ("아쉬웠어요", 0)]
REVIEWS = [Item(f"{s} {v}", label) for s, (v, label) in itertools.product(SUBJECTS, VERDICTS)]
MINI = "kogpt_bot/mini"


@pytest.fixture(scope="module")
def target():
    with own_service("mini", None, "cpu") as target:
        yield target


@pytest.fixture(scope="module")
def reference():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(MINI).float().eval(), AutoTokenizer.from_pretrained(
        MINI
    )


def direct(reference, context, whole):
    """The log-likelihood of what stands after `context`, by transformers' GPT-J."""
    import torch

    model, tokenizer = reference
    begin = len(tokenizer(context)["input_ids"])
    ids = torch.tensor([tokenizer(whole)["input_ids"]])
    with torch.inference_mode():
        scores = model(ids).logits[0, :-1].log_softmax(-1)
    own = scores.gather(1, ids[0, 1:, None])[begin - 1 :]
    return float(own.sum())


@pytest.mark.parametrize("name", ["nsmc", "ynat", "klue_sts"])
def test_the_scores_are_the_models_own(target, reference, name):
    benchmark = BENCHMARKS[name]
    items = REVIEWS[:20]
    if name == "ynat":
        items = [Item(item.text, n % 7) for n, item in enumerate(REVIEWS)]
    if name == "klue_sts":
        items = [
            Item(one.text, int(n % 2), two.text)
            for n, (one, two) in enumerate(zip(REVIEWS, REVIEWS[::-1], strict=True))
        ]
    shots = draw_shots(items, benchmark.classes, benchmark.classes, seed=0)
    asked = [item for item in items if item not in shots][:12]
    described = task(benchmark, asked, shots)
    found = run(benchmark, asked, shots, target).log_likelihoods
    for item, scores in zip(asked, found, strict=True):
        wholes = prompts(described, item, shots)
        for whole, choice, score in zip(wholes, described["doc_to_choice"], scores, strict=True):
            context = whole.removesuffix(f"{described['target_delimiter']}{choice}")
            assert score == pytest.approx(direct(reference, context, whole), abs=1e-3)


def figures(target):
    """The service's prompt tokens: computed, and taken over."""
    with urllib.request.urlopen(f"{target.url.removesuffix('/v1')}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = dict(line.split(" ") for line in lines if "{" not in line and line[:1] != "#")
    return (
        float(found["kogpt_prefill_tokens_total"]),
        float(found["kogpt_reused_tokens_total"]),
    )


@pytest.mark.parametrize("name", ["nsmc", "ynat"])
def test_the_shots_and_the_items_are_computed_once(target, name):
    """Seven labels of an item cost hardly more than one: what the harness sends is in order."""
    benchmark = BENCHMARKS[name]
    items = [Item(item.text, n % benchmark.classes) for n, item in enumerate(REVIEWS)]
    shots = draw_shots(items, 14, benchmark.classes, seed=1)
    asked = [item for item in items if item not in shots]
    computed, reused = figures(target)
    run(benchmark, asked, shots, target)
    computed, reused = (now - was for now, was in zip(figures(target), (computed, reused),
                                                      strict=True))  # fmt: skip
    assert reused > 5 * computed
    # A class has 3 tokens or 4, an item about 8; a block that two share at once is read by both.
    assert computed / (len(asked) * benchmark.classes) < 20


def test_the_command_writes_a_line_of_json(tmp_path):
    rows = "".join(f"{n}\t{item.text}\t{item.label}\n" for n, item in enumerate(REVIEWS))
    for file in ("nsmc_heldout4000.tsv", "nsmc_shots1000.tsv"):
        (tmp_path / file).write_text(f"id\tdocument\tlabel\n{rows}", encoding="utf-8")
    command = [sys.executable, "-m", "kogpt_bot", "eval", "nsmc", "--data", str(tmp_path),
               "--shots", "2", "--seeds", "2", "--limit", "10", "--json"]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["benchmark"], report["items"], report["shots"], report["seeds"]) == (
        "nsmc",
        10,
        2,
        [0, 1],
    )
    assert len(report["runs"]) == 2
    assert 0 <= report["mean"] <= 100
    assert len(read(tmp_path, "nsmc_heldout4000.tsv", BENCHMARKS["nsmc"])) == len(REVIEWS)
