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
    lines = {"loss": "training (mean)", "text": "held-out text", "chat": "held-out dialogues"}
    for path in logs:
        found = rows(path)
        tokens = [begin + row["tokens"] / 1e6 for row in found]
        for color, (key, label) in enumerate(lines.items()):
            shown = label if not begin else None  # once in the legend
            axes.plot(tokens, [row[key] for row in found], color=f"C{color}", label=shown)
        begin = tokens[-1]
        axes.axvline(begin, color="grey", lw=0.8, ls=":")
        axes.annotate(
            path.stem, (begin, 1), xycoords=("data", "axes fraction"), ha="right", va="top"
        )
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
