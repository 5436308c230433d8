"""Each benchmark's metric, by hand."""

import pytest

from kogpt_bot.evaluation.data import BENCHMARKS
from kogpt_bot.evaluation.metrics import mean_and_deviation, score

pytest.importorskip("sklearn", reason="no scikit-learn: pip install 'kogpt-bot[evaluation]'")

NSMC, YNAT, STS = (BENCHMARKS[name] for name in ("nsmc", "ynat", "klue_sts"))


def test_nsmc_is_accuracy():
    scores = score(NSMC, [1, 1, 1, 0], [1, 0, 1, 0])
    assert (scores.metric, scores.accuracy, scores.positive) == (75.0, 75.0, 75.0)


def test_ynat_counts_a_topic_that_is_never_said():
    # Of seven topics two are right and five never occur: F1 of 1, 1, 0, 0, 0, 0, 0.
    scores = score(YNAT, [0, 1], [0, 1])
    assert scores.metric == pytest.approx(100 * 2 / 7)
    assert scores.accuracy == 100.0


def test_always_the_largest_class_is_ynats_floor():
    gold = [0] * 554 + [1] * 1348 + [2] * 3701 + [3] * 1369 + [4] * 835 + [5] * 578 + [6] * 722
    assert score(YNAT, [2] * len(gold), gold).metric == pytest.approx(8.3, abs=0.05)


def test_sts_is_the_f1_of_the_same():
    """Not of class 0: to take index 0 for the similar ones is a mistake that is often made."""
    gold = [1, 1, 1, 0]
    assert score(STS, [1, 1, 1, 1], gold).metric == pytest.approx(100 * 6 / 7)
    assert score(STS, [0, 0, 0, 0], gold).metric == 0.0
    assert score(STS, [0, 0, 0, 1], gold).metric == 0.0
    assert score(STS, [0, 0, 0, 0], gold).positive == 0.0


def test_always_the_same_is_sts_floor():
    gold = [1] * 220 + [0] * 299  # as in KLUE's development set
    assert score(STS, [1] * 519, gold).metric == pytest.approx(59.5, abs=0.05)


def test_mean_and_deviation():
    assert mean_and_deviation([1.0]) == (1.0, 0.0)
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
