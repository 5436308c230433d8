"""Drawing the tree for people."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from kogpt_bot.ops.doctor.check import Check, Verdict

SIGNS = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.FAILED: ("✗", "red"),
}
PIPED_WIDTH = 200  # lines in a file need not fit a screen


def show(check: Check, console: Console | None = None) -> None:
    """Draw the tree; each check shows the worst of what is below it."""
    if console is None:
        console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    console.print(_grow(Tree(_label(check)), check))


def _label(check: Check) -> Text:
    sign, colour = SIGNS[check.worst]
    text = Text.assemble((f"{sign} ", colour), (check.name, "bold"))
    if check.finding:
        text.append(f" {check.finding}")
    if check.remedy:
        text.append(f"\n  → {check.remedy}", colour)
    return text


def _grow(tree: Tree, check: Check) -> Tree:
    for inner in check.below:
        _grow(tree.add(_label(inner)), inner)
    return tree
