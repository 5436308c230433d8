"""The log as tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kogpt_bot.moderation.export import as_dict
from kogpt_bot.moderation.stats import Stats
from kogpt_bot.store.profanity_values import Hit
from kogpt_bot.store.values import JsonValue

PIPED_WIDTH = 200  # columns, where no terminal says how wide it is
HEADS = ("id", "when", "channel", "direction", "category", "sev.", "found", "outcome", "review")


def show_hits(hits: Sequence[Hit]) -> None:
    """Show one line per hit."""
    table = Table(*HEADS, box=None, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for hit in hits:
        found, text = hit.found, hit.text
        same = found.matched in ("", found.canonical)
        word = found.canonical if same else f"{found.matched} ({found.canonical})"
        values = (
            str(hit.id),
            text.at.astimezone().strftime("%Y-%m-%d %H:%M"),
            text.channel,
            text.direction.value,
            found.category,
            str(found.severity),
            word,
            text.outcome.value,
            hit.verdict.value if hit.verdict else "",
        )
        table.add_row(*map(escape, values))
    console = _console()
    console.print(table)
    console.print(f"{len(hits)} hits" if hits else "no hits", style="dim")


def show_hit(hit: Hit) -> None:
    """Show everything about one hit."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in as_dict(hit).items():
        plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        table.add_row(key, escape(plain))
    _console().print(table)


def show_stats(stats: Stats) -> None:
    """Show four tables, and how many hits there are."""
    console = _console()
    days = [(day.isoformat(), count) for day, count in stats.days if count]
    sides = (
        ("day", days),
        ("category", stats.categories),
        ("channel", stats.channels),
        ("outcome", stats.outcomes),
    )
    for name, counts in sides:
        table = Table(name, "hits", box=None, header_style="bold")
        table.columns[1].justify = "right"
        for label, count in counts:
            table.add_row(escape(label), str(count))
        console.print(table)
        console.print()
    console.print(f"{stats.total} hits", style="dim")


def stats_values(stats: Stats) -> dict[str, JsonValue]:
    """Return the counts as JSON values."""
    return {
        "total": stats.total,
        "days": {day.isoformat(): count for day, count in stats.days},
        "categories": dict(stats.categories),
        "channels": dict(stats.channels),
        "outcomes": dict(stats.outcomes),
    }


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console
