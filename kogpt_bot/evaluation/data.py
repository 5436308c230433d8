"""The evaluation sets: reading the files that the user gives, and drawing shots from them."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kogpt_bot.errors import ConfigurationError

SAME_FROM = 3.0  # KLUE's own border: two sentences of at least this similarity mean the same


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled example; `label` is the index of its class, `other` the second sentence."""

    text: str
    label: int
    other: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One evaluation set: its files and columns, and its classes in the order of the labels.

    `shots_file` is where examples for the prompt come from; "": from `file`, those that are
    evaluated left out. `labels` are the classes as the file writes them; empty: the column holds
    a similarity from 0 to 5, and the classes are different and same.
    """

    name: str
    file: str
    shots_file: str
    columns: tuple[str, ...]  # text, (other,) label
    labels: tuple[str, ...]
    metric: str
    floor: str  # what the trivial answer gets

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.labels) or 2


BENCHMARKS = {
    each.name: each
    for each in (
        Benchmark(
            "nsmc",
            "nsmc_heldout4000.tsv",
            "nsmc_shots1000.tsv",
            ("document", "label"),
            ("0", "1"),
            "accuracy",
            "one of two classes: 50.0",
        ),
        Benchmark(
            "ynat",
            "ynat_dev.tsv",
            "ynat_shots2000.tsv",
            ("title", "label"),
            ("IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치"),
            "macro-F1",
            "always the largest class: 8.3",
        ),
        Benchmark(
            "klue_sts",
            "klue_sts_dev.tsv",
            "",
            ("sentence1", "sentence2", "label"),
            (),
            "F1",
            "always the same: 59.5",
        ),
    )
}


def read(folder: Path, file: str, benchmark: Benchmark) -> list[Item]:
    """Return the examples of a tab-separated file with a header.

    ConfigurationError names the file, the line, and what is allowed.
    """
    path = folder / file
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            if missing := [c for c in benchmark.columns if c not in (reader.fieldnames or ())]:
                wanted = ", ".join(benchmark.columns)
                raise ConfigurationError(
                    f"{path}:1: the column {missing[0]} is missing; wanted, tab-separated: {wanted}"
                )
            items = [_item(row, benchmark, f"{path}:{reader.line_num}") for row in reader]
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}; docs/evaluation.md says where the file comes from"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8: {error.reason}") from error
    return [item for item in items if item.text.strip()]


def _item(row: dict[str, str | None], benchmark: Benchmark, where: str) -> Item:
    *texts, label = (row[column] or "" for column in benchmark.columns)
    if benchmark.labels:
        if label not in benchmark.labels:
            allowed = ", ".join(benchmark.labels)
            raise ConfigurationError(f"{where}: the label {label!r}; allowed: {allowed}")
        return Item(texts[0].strip(), benchmark.labels.index(label))
    try:
        similarity = float(label)
    except ValueError as error:
        raise ConfigurationError(
            f"{where}: the label {label!r}; allowed: a similarity from 0 to 5"
        ) from error
    return Item(texts[0].strip(), int(similarity >= SAME_FROM), texts[1].strip())


def draw_shots(items: Sequence[Item], count: int, classes: int, seed: int) -> list[Item]:
    """Return `count` examples, as many of each class as can be, in an order of the seed's own.

    Where the classes do not divide `count`, the seed says which get one more. Raises
    ConfigurationError when a class has too few.
    """
    rng = random.Random(seed)  # noqa: S311  # no secret
    order = rng.sample(range(classes), classes)
    shots: list[Item] = []
    for place, label in enumerate(order):
        wanted = count // classes + (place < count % classes)
        pool = [item for item in items if item.label == label]
        if len(pool) < wanted:
            raise ConfigurationError(
                f"--shots {count} needs {wanted} examples of class {label}; there are {len(pool)}"
            )
        shots += rng.sample(pool, wanted)
    rng.shuffle(shots)
    return shots


def draw_items(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """Return `limit` examples to evaluate, the same for every seed of the shots."""
    if limit is None or limit >= len(items):
        return list(items)
    return random.Random(seed).sample(list(items), limit)  # noqa: S311  # no secret
