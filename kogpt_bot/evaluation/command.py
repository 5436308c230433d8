"""`kogpt-bot eval`: few-shot benchmarks on a served model, on the user's own copies of the data."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kogpt_bot.evaluation.data import Benchmark, Item
    from kogpt_bot.evaluation.harness import Target
    from kogpt_bot.evaluation.report import Report

ITEMS_SEED = 0  # which items a limit takes: the same ones for every model and every seed
SHOT_POOL = 100  # items that KLUE-STS, which has no other file here, gives up for the shots


class Name(StrEnum):
    """The benchmarks."""

    NSMC = "nsmc"
    YNAT = "ynat"
    KLUE_STS = "klue_sts"


def evaluate(
    benchmark: Annotated[list[Name], typer.Argument(help="One or more.")],
    data: Annotated[Path, typer.Option(help="The folder of the data; see docs/evaluation.md.")],
    shots: Annotated[int, typer.Option(min=0, max=1000, help="Examples in the prompt.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Draws of the shots.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Items at most.")] = None,
    model: Annotated[str, typer.Option(help="mini, a local folder, or a hub name.")] = "mini",
    revision: Annotated[str | None, typer.Option(help="The hub's revision.")] = None,
    device: Annotated[str | None, typer.Option("--device", "-d", help="auto, cpu, cuda")] = None,
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible service instead.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The variable with its key.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="The tokenizer.json for --url.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON line each.")] = False,
) -> None:
    """Score a model on NSMC, YNAT and KLUE-STS by in-context examples."""
    from rich.console import Console

    from kogpt_bot.evaluation import harness
    from kogpt_bot.evaluation.report import show
    from kogpt_bot.evaluation.served import foreign_service, own_service
    from kogpt_bot.secret import read_secret

    harness.require()
    chosen = [(each, *_data(each, data, limit)) for each in _benchmarks(benchmark)]
    serving: AbstractContextManager[Target]
    if url is None:
        serving = own_service(model, revision, device)
    else:
        key = read_secret("--api-key", api_key_env, None)
        serving = nullcontext(foreign_service(url, key.reveal() if key else "", tokenizer))
    with serving as target:
        for each, items, pool in chosen:
            report = _report(each, items, pool, target, shots, range(seeds))
            if as_json:
                sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=False) + "\n")
                sys.stdout.flush()
            else:
                show(report, Console())


def _benchmarks(names: Sequence[Name]) -> list[Benchmark]:
    from kogpt_bot.evaluation.data import BENCHMARKS

    return [BENCHMARKS[name.value] for name in dict.fromkeys(names)]


def _data(benchmark: Benchmark, folder: Path, limit: int | None) -> tuple[list[Item], list[Item]]:
    """Return the items to evaluate, and those from which the shots are drawn."""
    from kogpt_bot.evaluation.data import draw_items, read

    items = read(folder, benchmark.file, benchmark)
    if benchmark.shots_file:
        return draw_items(items, limit, ITEMS_SEED), read(folder, benchmark.shots_file, benchmark)
    held = draw_items(items, SHOT_POOL, ITEMS_SEED)
    rest = [item for item in items if item not in held]
    return draw_items(rest, limit, ITEMS_SEED), held


def _report(
    benchmark: Benchmark,
    items: Sequence[Item],
    pool: Sequence[Item],
    target: Target,
    shots: int,
    seeds: Sequence[int],
) -> Report:
    from kogpt_bot.evaluation.data import draw_shots
    from kogpt_bot.evaluation.harness import run
    from kogpt_bot.evaluation.metrics import score
    from kogpt_bot.evaluation.report import Report

    scores = []
    for seed in seeds:
        examples = draw_shots(pool, shots, benchmark.classes, seed)
        predicted = run(benchmark, items, examples, target).predicted
        scores.append(score(benchmark, predicted, [item.label for item in items]))
    return Report(benchmark, target.model, shots, len(items), tuple(seeds), tuple(scores))
