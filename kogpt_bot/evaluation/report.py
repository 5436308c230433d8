"""The result beside the published table of KoGPT's README."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from kogpt_bot.evaluation.data import Benchmark
from kogpt_bot.evaluation.metrics import Scores, mean_and_deviation

# In-context few-shots, from the README of kakaobrain/kogpt (2021): NSMC accuracy, YNAT F1,
# KLUE-STS F1. How many shots and which items is not said there.
PUBLISHED = (
    ("HyperCLOVA 1.3B", {"nsmc": 83.9, "ynat": 58.7, "klue_sts": 60.9}),
    ("HyperCLOVA 6.9B", {"nsmc": 83.8, "ynat": 67.5, "klue_sts": 59.3}),
    ("HyperCLOVA 13B", {"nsmc": 87.9, "ynat": 67.9, "klue_sts": 60.0}),
    ("HyperCLOVA 39B", {"nsmc": 88.0, "ynat": 71.4, "klue_sts": 61.6}),
    ("HyperCLOVA 82B", {"nsmc": 88.2, "ynat": 72.7, "klue_sts": 65.1}),
    ("KoGPT 6B", {"nsmc": 87.8, "ynat": 78.0, "klue_sts": 64.3}),
)
NOTES = {"nsmc": "an independent run of KoGPT with 20 shots gave 82.1 on NSMC"}


@dataclass(frozen=True, slots=True)
class Report:
    """The runs of one benchmark, one for each seed of the shots."""

    benchmark: Benchmark
    model: str
    shots: int
    items: int
    seeds: tuple[int, ...]
    scores: tuple[Scores, ...]

    def as_json(self) -> dict[str, object]:
        """Return what was measured, plainly."""
        metric, deviation = mean_and_deviation([each.metric for each in self.scores])
        positive = [each.positive for each in self.scores if each.positive is not None]
        return {
            "benchmark": self.benchmark.name,
            "model": self.model,
            "shots": self.shots,
            "items": self.items,
            "seeds": list(self.seeds),
            "metric": self.benchmark.metric,
            "mean": round(metric, 2),
            "deviation": round(deviation, 2),
            "runs": [round(each.metric, 2) for each in self.scores],
            "accuracy": round(mean_and_deviation([s.accuracy for s in self.scores])[0], 2),
            "predicted_positive": round(mean_and_deviation(positive)[0], 2) if positive else None,
            "floor": self.benchmark.floor,
        }


def show(report: Report, console: Console) -> None:
    """Print one benchmark's result, with the trivial floor and what was published."""
    figures = report.as_json()
    name, metric = report.benchmark.name, report.benchmark.metric
    table = Table(title=f"{name}: {metric}, {report.shots} shots, {report.items} items")
    table.add_column("model")
    table.add_column(metric, justify="right")
    table.add_column("")
    runs = _joined(report.scores)
    deviation = f" ± {figures['deviation']}" if len(report.scores) > 1 else ""
    table.add_row(report.model, f"{figures['mean']}{deviation}", f"seeds: {runs}", style="bold")
    beside = f"accuracy {figures['accuracy']}"
    if figures["predicted_positive"] is not None:
        beside += f"; said to be the second class: {figures['predicted_positive']}%"
    table.add_row("", "", beside)
    table.add_row("trivial floor", report.benchmark.floor.rpartition(": ")[2],
                  report.benchmark.floor.rpartition(": ")[0], end_section=True)  # fmt: skip
    for model, published in PUBLISHED:
        note = NOTES.get(name, "") if model.startswith("KoGPT") else ""
        table.add_row(model, str(published[name]), note)
    console.print(table)


def _joined(scores: Sequence[Scores]) -> str:
    return ", ".join(f"{each.metric:.1f}" for each in scores)
