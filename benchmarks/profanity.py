"""Compares the profanity detector with korcen 1.0.3 and 0.2.9 on labelled comments.

    pip install --target /tmp/korcen103 korcen==1.0.3 colorama
    pip install --target /tmp/korcen029 korcen==0.2.9 better_profanity
    python benchmarks/profanity.py SET.tsv ... --korcen 1.0.3=/tmp/korcen103 \
        --korcen 0.2.9=/tmp/korcen029 --titles TITLES.tsv

A set has two columns, text and 0 or 1; titles have text first and are all clean. Each peer runs
in a process of its own (both packages are called korcen).
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
_PEER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
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
    if not Path(folder, "korcen").is_dir():
        return "absent"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PEER, folder],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    answer = json.loads(done.stdout.splitlines()[-1])
    return Outcome(answer["found"], answer["seconds"])


def read(path: Path) -> tuple[list[str], list[bool]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if len(row) == 2][1:]
    return [text for text, _ in rows], [label.strip() == "1" for _, label in rows]


def line(name: str, outcome: Outcome | str, labels: list[bool]) -> str:
    if isinstance(outcome, str):
        return f"| {name} | {outcome} | | | |"
    pairs = list(zip(outcome.found, labels, strict=True))
    right = pairs.count((True, True))
    extra, missed = pairs.count((True, False)), pairs.count((False, True))
    precision = right / max(1, right + extra)
    recall = right / max(1, right + missed)
    f1 = 2 * right / max(1, 2 * right + extra + missed)
    speed = len(labels) / outcome.seconds
    return f"| {name} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {speed:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", type=Path, help="text, label; tab-separated")
    parser.add_argument("--titles", type=Path, help="clean texts, the first column is read")
    parser.add_argument("--korcen", action="append", default=[], metavar="VERSION=FOLDER")
    arguments = parser.parse_args()
    peers = dict(item.split("=", 1) for item in arguments.korcen)
    peers = {version: peers.get(version, "") for version in ("1.0.3", "0.2.9", *peers)}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for path in arguments.sets:
        texts, labels = read(path)
        print(f"\n{path.name}: {len(texts)} texts, {sum(labels)} positive\n")
        print("| detector | precision | recall | F1 | texts/s |\n|---|---|---|---|---|")
        print(line("kogpt-bot", ours(texts), labels))
        for version, folder in peers.items():
            print(line(f"korcen {version}", peer(folder, texts), labels))
    if arguments.titles:
        with arguments.titles.open(encoding="utf-8") as file:
            titles = [row.split("\t")[0].strip() for row in file][1:]
        print(f"\n{arguments.titles.name}: false hits in {len(titles)} clean titles\n")
        print(f"kogpt-bot: {sum(ours(titles).found)}")
        for version, folder in peers.items():
            outcome = peer(folder, titles)
            count = outcome if isinstance(outcome, str) else sum(outcome.found)
            print(f"korcen {version}: {count}")


if __name__ == "__main__":
    main()
