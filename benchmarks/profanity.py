"""Compares the profanity detector with korcen 1.0.3 and 0.2.9.

    python -m venv /tmp/korcen103; /tmp/korcen103/bin/pip install korcen==1.0.3 colorama
    python -m venv /tmp/korcen029; /tmp/korcen029/bin/pip install korcen==0.2.9 better_profanity
    python benchmarks/profanity.py SET.tsv ... \
        --clean TITLES.tsv tests/data/profanity/innocent.tsv \
        --profane tests/data/profanity/positives.tsv \
        --korcen 1.0.3=/tmp/korcen103 --korcen 0.2.9=/tmp/korcen029

A set has two columns, text and 0 or 1. Of the files that are all clean or all profane the first
column is read. Each peer runs in a process of its own (both packages are called korcen), from a
virtual environment or a folder made with `pip install --target`; one that is not given is
reported as absent. Speed is a ratio to ours on the same texts, so it can be compared between
machines.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from kogpt_bot.moderation import Detector

ROUNDS = 3
PEER_TIMEOUT_S = 600  # 0.2.9 reads about sixty comments a second
_PEER = """
import json, sys, time
sys.path[:0] = sys.argv[1:]
from korcen import korcen
if hasattr(korcen, "korcen"):  # 0.2.9: a class in the module
    korcen = korcen.korcen()
elif isinstance(korcen, type):
    korcen = korcen()
texts = json.load(sys.stdin)
begin = time.perf_counter()
found = [bool(korcen.check(text)) for text in texts]
print(json.dumps({"found": found, "seconds": time.perf_counter() - begin}))
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a detector found, and how long it took."""

    found: list[bool]
    seconds: float


def ours(texts: list[str]) -> Outcome:
    detector = Detector.default()
    found = [detector.is_profane(text) for text in texts]
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for text in texts:
            detector.is_profane(text)
        times.append(time.perf_counter() - begin)
    return Outcome(found, statistics.median(times))


def peer(folder: str, texts: list[str]) -> Outcome | str:
    """Run a peer; returns why not where it is absent or fails."""
    own_python = Path(folder, "bin", "python")
    if own_python.exists():
        command = [str(own_python), "-W", "ignore", "-c", _PEER]
    elif Path(folder, "korcen").is_dir():
        command = [sys.executable, "-W", "ignore", "-c", _PEER, folder]
    else:
        return "absent"
    try:
        done = subprocess.run(
            command,
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            timeout=PEER_TIMEOUT_S,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired:
        return f"more than {PEER_TIMEOUT_S} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    answer = json.loads(done.stdout.splitlines()[-1])
    return Outcome(answer["found"], answer["seconds"])


def read(path: Path, limit: int | None) -> tuple[list[str], list[bool]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if len(row) == 2]
    rows = rows[1:][:limit]
    return [text for text, _ in rows], [label.strip() == "1" for _, label in rows]


def first_column(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [row.split("\t")[0].strip() for row in file][1:]


def quality(outcome: Outcome, labels: list[bool]) -> str:
    """Return precision, recall and F1, or the share that was flagged of texts of one kind."""
    pairs = list(zip(outcome.found, labels, strict=True))
    right = pairs.count((True, True))
    extra, missed = pairs.count((True, False)), pairs.count((False, True))
    if len(set(labels)) == 1:
        flagged = right + extra
        return f"| {flagged} of {len(labels)} | {flagged / len(labels):.2%} "
    precision = right / max(1, right + extra)
    recall = right / max(1, right + missed)
    f1 = 2 * right / max(1, 2 * right + extra + missed)
    return f"| {precision:.3f} | {recall:.3f} | {f1:.3f} "


def compare(title: str, texts: list[str], labels: list[bool], peers: dict[str, str]) -> None:
    """Print one table: ours, then each peer."""
    columns = "flagged | share" if len(set(labels)) == 1 else "precision | recall | F1"
    print(f"\n{title}\n\n| detector | {columns} | speed |")
    print("|" + "---|" * (columns.count("|") + 3))
    own = ours(texts)
    print(f"| kogpt-bot {quality(own, labels)}| {len(texts) / own.seconds:,.0f} texts/s |")
    for version, folder in peers.items():
        outcome = peer(folder, texts)
        if isinstance(outcome, str):
            print(f"| korcen {version} | {outcome} |")
            continue
        ratio = own.seconds / outcome.seconds
        print(f"| korcen {version} {quality(outcome, labels)}| {ratio:.2f} times ours |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", type=Path, help="text, label; tab-separated")
    parser.add_argument("--limit", type=int, help="read so many texts of each file")
    parser.add_argument("--clean", nargs="*", default=[], type=Path, metavar="FILE")
    parser.add_argument("--profane", nargs="*", default=[], type=Path, metavar="FILE")
    parser.add_argument("--korcen", action="append", default=[], metavar="VERSION=FOLDER")
    arguments = parser.parse_args()
    given = dict(item.split("=", 1) for item in arguments.korcen)
    peers = {version: given.get(version, "") for version in ("1.0.3", "0.2.9", *given)}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for path in arguments.sets:
        texts, labels = read(path, arguments.limit)
        compare(f"{path.name}: {len(texts)} texts, {sum(labels)} profane", texts, labels, peers)
    for kind, paths in ((False, arguments.clean), (True, arguments.profane)):
        for path in paths:
            texts = first_column(path)[: arguments.limit]
            word = "profane" if kind else "clean"
            compare(f"{path.name}: all {word}", texts, [kind] * len(texts), peers)


if __name__ == "__main__":
    main()
