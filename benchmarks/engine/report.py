"""Tables and a plot of what `run.py` wrote: medians, and ratios to transformers in float32."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

BASE = "transformers:float32"


def merged(files: list[Path]) -> list[dict]:
    """Return what was measured, one entry a checkpoint, with the rounds of all files."""
    result: dict[str, dict] = {}
    for path in files:
        found = json.loads(path.read_text())
        have = result.setdefault(found["checkpoint"], {**found, "runs": [], "parity": {}})
        have["runs"] += found["runs"]
        have["absent"] |= found["absent"]
        for engine, text in found["parity"].items():
            before = have["parity"].get(engine, "0 of 0")
            pairs = zip(before.split(" of "), text.split(" of "), strict=True)
            have["parity"][engine] = " of ".join(str(int(a) + int(b)) for a, b in pairs)
    for found in result.values():
        ran = {run["engine"] for run in found["runs"]}
        found["absent"] = {k: v for k, v in found["absent"].items() if k not in ran}
    return list(result.values())


def medians(found: dict) -> dict[tuple[str, str], dict[str, float]]:
    """Return (engine, workload) -> medians over the rounds; speeds are tokens a CPU second."""
    grouped: dict[tuple[str, str], list[dict]] = {}
    for run in found["runs"]:
        grouped.setdefault((run["engine"], run["workload"]), []).append(run)
    result = {}
    for key, runs in grouped.items():
        warm = key[1] == "S"
        result[key] = {
            "speed": statistics.median(_speed(each, "cpu", warm=False) for each in runs),
            "wall": statistics.median(_speed(each, "wall", warm=False) for each in runs),
            "warm": statistics.median(_speed(each, "cpu", warm=warm) for each in runs),
            "first": statistics.median(each["first"] for each in runs),
            "rounds": len(runs),
        }
    return result


def _speed(run: dict, clock: str, *, warm: bool) -> float:
    if warm:
        return run["waves"][-1]["tokens"] / run["waves"][-1][clock]
    return run["tokens"] / run[clock]


def table(measured: list[dict]) -> str:
    """Return a Markdown table of each file."""
    lines = []
    for found in measured:
        numbers = medians(found)
        workloads = list(dict.fromkeys(workload for _, workload in numbers))
        engines = list(dict.fromkeys(engine for engine, _ in numbers))
        lines += [
            f"{found['checkpoint']} checkpoint, {found['threads']} thread; {found['machine']}", "",
            "| engine | " + " | ".join(_head(each) for each in workloads) + " | equal answers |",
            "|---" * (len(workloads) + 2) + "|",
        ]  # fmt: skip
        for engine in engines:
            cells = [_cell(numbers, engine, workload) for workload in workloads]
            equal = found["parity"].get(engine, "the measure" if engine == BASE else "-")
            lines.append(f"| {engine} | " + " | ".join(cells) + f" | {equal} |")
        for engine, why in found["absent"].items():
            lines.append(f"| {engine} | absent: {why} |" + " |" * len(workloads))
        lines.append("")
    return "\n".join(lines)


def _head(workload: str) -> str:
    extra = {"C": ", first token", "S": " (warm)"}.get(workload, "")
    return f"{workload}: tokens/s{extra}"


def _cell(numbers: dict, engine: str, workload: str) -> str:
    own, base = numbers.get((engine, workload)), numbers.get((BASE, workload))
    if own is None:
        return "-"
    text = f"{own['speed']:.0f}"
    if base is not None:
        text += f" ({own['speed'] / base['speed']:.1f}x)"
    if workload == "S":
        text += f", {own['warm']:.0f}"
        text += f" ({own['warm'] / base['warm']:.1f}x)" if base is not None else ""
    if workload == "C":
        text += f", {own['first']:.2f} s"
        text += f" (1/{base['first'] / own['first']:.0f})" if base is not None else ""
    return text


def plot(measured: list[dict], target: Path) -> None:
    """Draw the ratios as bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "kogpt-bot"  # the same figures give the same file
    figure, axes = pyplot.subplots(1, len(measured), figsize=(6 * len(measured), 4), squeeze=False)
    for axis, found in zip(axes[0], measured, strict=True):
        numbers = medians(found)
        workloads = list(dict.fromkeys(workload for _, workload in numbers))
        engines = [e for e in dict.fromkeys(e for e, _ in numbers) if e != BASE]
        width = 0.8 / max(len(engines), 1)
        for place, engine in enumerate(engines):
            ratios = [
                numbers[engine, each]["warm"] / numbers[BASE, each]["warm"]
                if (engine, each) in numbers and (BASE, each) in numbers
                else 0
                for each in workloads
            ]
            spots = [n + place * width for n in range(len(workloads))]
            bars = axis.bar(
                spots, ratios, width, label=engine,
                color=pyplot.get_cmap("tab10")(place),
                hatch="//" if engine.startswith("ours") else "",
            )  # fmt: skip
            axis.bar_label(bars, [f"{each:.1f}" if each else "" for each in ratios], fontsize=7)
        axis.set_xticks([n + 0.4 - width / 2 for n in range(len(workloads))], workloads)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set_ylabel("tokens per CPU second, times transformers generate")
        axis.set_title(f"{found['checkpoint']} checkpoint, one thread (S: warm)")
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG or PNG file to write")
    given = parser.parse_args(arguments)
    measured = merged(given.files)
    print(table(measured))
    if given.plot:
        plot(measured, given.plot)
    return 0
