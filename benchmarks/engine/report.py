"""Tables and a plot of what `run.py` wrote: medians, and ratios to transformers in float32."""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from pathlib import Path

from benchmarks.engine.parity import BASE
from kogpt_bot.generation.workloads import median_and_late, regime


def merged(files: list[Path]) -> list[dict]:
    """Return what was measured, one entry a checkpoint, with the rounds of all files."""
    result: dict[str, dict] = {}
    for path in files:
        found = json.loads(path.read_text())
        empty = {"runs": [], "served": [], "parity": {}, "absent": {}, "differences": []}
        have = result.setdefault(found["checkpoint"], {**found, **empty})
        for key in ("runs", "served", "differences"):
            have[key] = have[key] + found[key]
        have["absent"] = have["absent"] | found["absent"]
        for engine, counts in found["parity"].items():
            have["parity"][engine] = Counter(have["parity"].get(engine, {})) + Counter(counts)
    for found in result.values():
        ran = {run["engine"] for run in found["runs"] + found["served"]}
        found["absent"] = {k: v for k, v in found["absent"].items() if k not in ran}
    return list(result.values())


def medians(found: dict) -> dict[tuple[str, str], dict[str, float]]:
    """Return (engine, workload) -> medians over the rounds.

    Tokens a second of CPU time (`cpu`, `cpu_warm`: of the last wave) and of wall time; seconds
    to the first token of the last wave in both.
    """
    grouped: dict[tuple[str, str], list[dict]] = {}
    for run in found["runs"]:
        grouped.setdefault((run["engine"], run["workload"]), []).append(run)
    return {key: _medians(runs) for key, runs in grouped.items()}


def _medians(runs: list[dict]) -> dict[str, float]:
    middle = statistics.median
    result = {"first_cpu": middle(run["first"] for run in runs)}
    result["first_wall"] = middle(run["first_wall"] for run in runs)
    for clock in ("cpu", "wall"):
        result[clock] = middle(run["tokens"] / run[clock] for run in runs)
        last = [run["waves"][-1] for run in runs]
        result[f"{clock}_warm"] = middle(wave["tokens"] / wave[clock] for wave in last)
    return result


def table(measured: list[dict]) -> str:
    """Return Markdown tables of each file: speeds and parity; arrivals."""
    lines = []
    for found in measured:
        lines += [f"{_title(found)}; {found['machine']}", ""]
        if found["runs"]:
            lines += _speeds(found)
        for rate in dict.fromkeys(each["rate"] for each in found["served"]):
            lines += _arrivals([each for each in found["served"] if each["rate"] == rate])
        if found["absent"]:
            lines += [f"{engine} is absent: {why}" for engine, why in found["absent"].items()]
            lines.append("")
    return "\n".join(lines)


def _title(found: dict) -> str:
    threads = found["threads"]
    return f"{found['checkpoint']} checkpoint, {threads} thread{'s' if threads > 1 else ''}"


def _speeds(found: dict) -> list[str]:
    numbers = medians(found)
    workloads = list(dict.fromkeys(workload for _, workload in numbers))
    lines = [
        "tokens a second of CPU time / of wall time (times those of transformers, by CPU time)",
        "",
        "| engine | " + " | ".join(_head(each) for each in workloads) + " | equal answers |",
        "|---" * (len(workloads) + 2) + "|",
    ]
    for engine in dict.fromkeys(engine for engine, _ in numbers):
        cells = [_cell(numbers, engine, workload) for workload in workloads]
        if engine in found["parity"]:
            equal = parity_cell(found["parity"][engine])
        else:
            equal = "the measure" if engine == BASE else "not compared"
        lines.append(f"| {engine} | " + " | ".join(cells) + f" | {equal} |")
    return [*lines, ""]


def parity_cell(counts: dict[str, int]) -> str:
    """Return how many answers are equal, and why the others of an engine in float32 are not."""
    parts = [f"{counts.get('equal', 0)} of {counts['of']}"]
    if wrong := counts.get("wrong", 0):
        parts.insert(0, f"**{wrong} WRONG**")
    if ties := counts.get("ties", 0):
        parts.append(f"{ties} of two level tokens")
    if after := counts.get("after", 0):
        parts.append(f"{after} after another answer")
    return ", ".join(parts)


def _head(workload: str) -> str:
    return workload + {"C": ", first token", "S": ", warm"}.get(workload, "")


def _cell(numbers: dict, engine: str, workload: str) -> str:
    own, base = numbers.get((engine, workload)), numbers.get((BASE, workload))
    if own is None:
        return "-"

    def speed(suffix: str = "") -> str:
        cpu = own["cpu" + suffix]
        times = f" ({cpu / base['cpu' + suffix]:.1f}x)" if base is not None else ""
        return f"{cpu:.0f} / {own['wall' + suffix]:.0f}{times}"

    text = speed()
    if workload == "S":
        text += f", {speed('_warm')}"
    if workload == "C":
        text += f", {own['first_cpu']:.2f} / {own['first_wall']:.2f} s"
        text += f" (1/{base['first_cpu'] / own['first_cpu']:.0f})" if base is not None else ""
    return text


def _arrivals(served: list[dict]) -> list[str]:
    """Return a table of rounds at one rate; the first tokens of all rounds are taken together."""
    first = served[0]
    grouped: dict[str, list[dict]] = {}
    for each in served:
        grouped.setdefault(each["engine"], []).append(each)
    lines = [
        f"D: {regime(len(first['firsts']), first['rate'])}; the rate: {first['why']}",
        "",
        "| engine | first token p50 | p95 | requests answered a second | a second of CPU time |",
        "|---|---|---|---|---|",
    ]
    for engine, rounds in grouped.items():
        firsts = [seconds for each in rounds for seconds in each["firsts"]]
        median, late = median_and_late(firsts)
        wall, cpu = (len(firsts) / sum(each[clock] for each in rounds) for clock in ("wall", "cpu"))
        lines.append(f"| {engine} | {median:.3f} s | {late:.3f} s | {wall:.2f} | {cpu:.2f} |")
    return [*lines, ""]


def panel_title(found: dict) -> str:
    """Return what a panel of the plot shows."""
    warm = any(run["workload"] == "S" for run in found["runs"])
    return _title(found) + (" (S: warm)" if warm else "")


def plot(measured: list[dict], target: Path) -> None:
    """Draw the ratios as bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "kogpt-bot"  # the same figures give the same file
    figure, axes = pyplot.subplots(1, len(measured), figsize=(6 * len(measured), 4), squeeze=False)
    every = sorted({run["engine"] for found in measured for run in found["runs"]} - {BASE})
    for axis, found in zip(axes[0], measured, strict=True):
        numbers = medians(found)
        workloads = list(dict.fromkeys(workload for _, workload in numbers))
        engines = [each for each in every if any(engine == each for engine, _ in numbers)]
        width = 0.8 / max(len(engines), 1)
        for place, engine in enumerate(engines):
            ratios = [
                _shown(numbers, engine, each) / _shown(numbers, BASE, each)
                if (engine, each) in numbers and (BASE, each) in numbers
                else 0
                for each in workloads
            ]
            spots = [n + place * width for n in range(len(workloads))]
            bars = axis.bar(
                spots, ratios, width, label=engine,
                color=pyplot.get_cmap("tab10")(every.index(engine)),
                hatch="//" if engine.startswith("ours") else "",
            )  # fmt: skip
            axis.bar_label(bars, [f"{each:.1f}" if each else "" for each in ratios], fontsize=7)
        axis.set_xticks([n + 0.4 - width / 2 for n in range(len(workloads))], workloads)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set_ylabel("tokens per CPU second, times transformers generate")
        axis.set_title(panel_title(found))
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def _shown(numbers: dict, engine: str, workload: str) -> float:
    return numbers[engine, workload]["cpu_warm" if workload == "S" else "cpu"]


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
