"""The prompts, and what does not fit."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.evaluation import harness
from kogpt_bot.evaluation.data import BENCHMARKS, Item
from kogpt_bot.evaluation.harness import Run, Target, prompts, run, task

pytest.importorskip("lm_eval", reason="no lm-eval: pip install 'kogpt-bot[evaluation]'")

NSMC, YNAT, STS = (BENCHMARKS[name] for name in ("nsmc", "ynat", "klue_sts"))


def test_a_review_and_its_label_are_a_line():
    shots = [Item("지루해요", 0), Item("최고예요", 1)]
    described = task(NSMC, [Item("볼만해요", 1)], shots)
    context = "지루해요 (부정)\n최고예요 (긍정)\n볼만해요"
    assert prompts(described, Item("볼만해요", 1), shots) == [
        f"{context} (부정)",
        f"{context} (긍정)",
    ]


def test_seven_topics_in_the_order_of_their_labels():
    said = ["(과학)", "(경제)", "(사회)", "(생활)", "(세계)", "(스포츠)", "(정치)"]
    assert prompts(task(YNAT, [], []), Item("제목", 0), []) == [f"제목 {each}" for each in said]
    for label, topic in zip(YNAT.labels, said, strict=True):
        assert topic.strip("()") in label


def test_the_second_class_of_sts_is_the_same():
    different, same = prompts(task(STS, [], []), Item("가", 1, "나"), [])
    assert same == "문장1: 가\n문장2: 나\n정답: 같음"
    assert different.endswith("정답: 다름")


def test_what_people_write_is_taken_as_it_is():
    """Neither a number nor what looks like a place for another field is read as such."""
    for text in ("10", "{{other}} {{text}}", "{% if %}"):
        described = task(STS, [], [])
        assert described["doc_to_text"]({"text": text, "other": "나"}) == (
            f"문장1: {text}\n문장2: 나\n정답:"
        )
        assert prompts(task(NSMC, [], []), Item(text, 0), [])[0] == f"{text} (부정)"


def test_the_likeliest_class_is_predicted():
    assert Run(((-1.0, -2.0), (-3.0, -0.5))).predicted == [0, 1]


def test_too_many_shots_for_the_context_are_refused_not_cut():
    letters = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    target = Target("http://127.0.0.1:1/v1", "tiny", 64, letters.to_str().encode())
    shots = [Item("아주 재미있었어요", n % 2) for n in range(20)]
    with pytest.raises(
        ConfigurationError, match=r"--shots 20: .* tiny takes 64; allowed: about \d"
    ):
        run(NSMC, [Item("볼만해요", 1)], shots, target)


def test_a_missing_harness_names_the_extra(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"kogpt-bot\[evaluation\]"):
        harness.require()
