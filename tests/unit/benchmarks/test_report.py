"""Tables and titles: medians over rounds, files added up, CPU time beside wall time."""

import json

import pytest

from benchmarks.engine import report
from benchmarks.engine.parity import BASE

OURS = "ours:float32"


def one(engine, workload, tokens, cpu, wall, warm=None):
    waves = [{"tokens": tokens, "cpu": cpu, "wall": wall}]
    if warm is not None:
        waves.append({"tokens": warm, "cpu": 1.0, "wall": 2.0})
    return {
        "engine": engine, "workload": workload, "tokens": tokens, "cpu": cpu, "wall": wall,
        "first": cpu / 10, "first_wall": wall / 10, "waves": waves,
    }  # fmt: skip


def measured(runs=(), served=(), **more):
    parity = {OURS: {"equal": 3, "of": 4, "ties": 1, "after": 0, "wrong": 0}}
    return {
        "machine": "a machine", "checkpoint": "tiny", "threads": 1, "versions": {}, "absent": {},
        "parity": parity, "differences": [], "runs": list(runs), "served": list(served),
    } | more  # fmt: skip


def arrivals(engine, firsts, rate=2.0):
    return {
        "engine": engine, "round": 0, "rate": rate, "why": "as given", "firsts": firsts,
        "wall": 10.0, "cpu": 4.0,
    }  # fmt: skip


def test_a_speed_is_the_median_of_its_rounds():
    runs = [one(OURS, "A", 100, cpu, 2 * cpu) for cpu in (1.0, 5.0, 2.0)]
    found = report.medians(measured(runs))[OURS, "A"]
    assert (found["cpu"], found["wall"]) == (50, 25)
    assert (found["first_cpu"], found["first_wall"]) == (0.2, 0.4)


def test_the_warm_speed_is_the_last_waves():
    found = report.medians(measured([one(OURS, "S", 100, 1.0, 1.0, warm=300)]))[OURS, "S"]
    assert (found["cpu"], found["cpu_warm"], found["wall_warm"]) == (100, 300, 150)


def test_a_cell_has_both_clocks_and_the_ratio():
    runs = [one(BASE, "A", 10, 1.0, 2.0), one(OURS, "A", 40, 1.0, 4.0)]
    lines = report.table([measured(runs)]).splitlines()
    assert f"| {OURS} | 40 / 10 (4.0x) | 3 of 4, 1 of two level tokens |" in lines
    assert f"| {BASE} | 10 / 5 (1.0x) | the measure |" in lines


def test_a_wrong_engine_stands_out():
    counts = {"equal": 1, "of": 4, "wrong": 2, "after": 1}
    assert report.parity_cell(counts) == "**2 WRONG**, 1 of 4, 1 after another answer"


def test_files_of_a_checkpoint_are_added_up(tmp_path):
    absent = {"vllm:float32": "no vllm in --venvs", OURS: "ended"}
    files = [
        measured([one(OURS, "A", 100, 1.0, 1.0)], absent=absent),
        measured(
            [one(OURS, "A", 100, 2.0, 2.0)], [arrivals(OURS, [1.0, 2.0])], differences=["one"]
        ),
        measured([one(OURS, "B", 100, 1.0, 1.0)], checkpoint="370M"),
    ]
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, found in zip(paths, files, strict=True):
        path.write_text(json.dumps(found))
    tiny, other = report.merged(paths)
    assert [len(tiny["runs"]), len(tiny["served"]), len(other["runs"])] == [2, 1, 1]
    assert dict(tiny["parity"][OURS]) == {"equal": 6, "of": 8, "ties": 2}
    assert tiny["absent"] == {"vllm:float32": "no vllm in --venvs"}
    assert tiny["differences"] == ["one"]
    assert dict(other["parity"][OURS]) == {"equal": 3, "of": 4, "ties": 1}


def test_arrivals_have_a_table_for_each_rate_with_all_rounds():
    served = [
        arrivals(OURS, [0.1] * 10), arrivals(OURS, [0.3] * 11), arrivals(BASE, [1.0] * 20),
        arrivals(OURS, [9.0] * 20, rate=7.0),
    ]  # fmt: skip
    lines = report.table([measured(served=served)]).splitlines()
    assert f"| {OURS} | 0.300 s | 0.300 s | 1.05 | 2.62 |" in lines
    assert f"| {BASE} | 1.000 s | 1.000 s | 2.00 | 5.00 |" in lines
    assert [each.partition(" in bursts")[0][-10:] for each in lines if each.startswith("D:")] == [
        "2 a second", "7 a second",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "threads", "title"),
    [
        ("A", 1, "tiny checkpoint, 1 thread"),
        ("S", 1, "tiny checkpoint, 1 thread (S: warm)"),
        ("A", 2, "tiny checkpoint, 2 threads"),
    ],
)
def test_a_panel_says_warm_only_where_something_is(workload, threads, title):
    found = measured([one(OURS, workload, 1, 1.0, 1.0)], threads=threads)
    assert report.panel_title(found) == title
