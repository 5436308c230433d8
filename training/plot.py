"""The loss curves of a training, as an SVG for the model card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a training's log."""
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def plot(logs: list[Path], out: Path) -> None:
    """Draw the logs one after the other; tokens in millions, loss in nats a token."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.5))
    begin = 0.0
    for path in logs:
        found = rows(path)
        tokens = [begin + row.get("tokens", row.get("step", 0) * 4096) / 1e6 for row in found]
        axes.plot(tokens, [row["loss"] for row in found], label=f"{path.stem}: training (mean)")
        if "held_out" in found[-1]:
            held = [row["held_out"] for row in found]
            axes.plot(tokens, held, "--", label=f"{path.stem}: our dialogues, held out")
        begin = tokens[-1]
    axes.set_xlabel("million tokens")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("kogpt_bot/mini/loss.svg"))
    given = parser.parse_args()
    plot(given.logs, given.out)


if __name__ == "__main__":
    main()
