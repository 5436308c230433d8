"""What the predictions are worth: each benchmark's metric, and what explains it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kogpt_bot.evaluation.data import Benchmark


@dataclass(frozen=True, slots=True)
class Scores:
    """The results of one run in percent; `positive` is the share that was said to be class 1."""

    metric: float
    accuracy: float
    positive: float | None = None


def score(benchmark: Benchmark, predicted: Sequence[int], gold: Sequence[int]) -> Scores:
    """Return the benchmark's metric: accuracy, macro-F1 over all classes, or F1 of class 1."""
    from sklearn.metrics import accuracy_score, f1_score

    accuracy = 100 * float(accuracy_score(gold, predicted))
    positive = 100 * sum(each == 1 for each in predicted) / len(predicted)
    if benchmark.metric == "accuracy":
        return Scores(accuracy, accuracy, positive)
    if benchmark.metric == "macro-F1":
        labels = list(range(benchmark.classes))
        f1 = f1_score(gold, predicted, labels=labels, average="macro", zero_division=0)
        return Scores(100 * float(f1), accuracy)
    f1 = f1_score(gold, predicted, pos_label=1, average="binary", zero_division=0)
    return Scores(100 * float(f1), accuracy, positive)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation of a sample (0 for a single value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
