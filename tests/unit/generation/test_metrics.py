"""What Prometheus is told is what the documentation lists."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from kogpt_bot.generation.metrics import render
from tests.fakes.fake_engine import FakeEngine

ENGINE_MD = Path(__file__).parents[3] / "docs" / "engine.md"


def documented():
    """Return the names under "Metrics", and those among them that are said to be histograms."""
    text = ENGINE_MD.read_text(encoding="utf-8")
    section = text.split("\n## Metrics\n")[1].split("\n## ")[0]
    listed = section.split("all prefixed `kogpt_`: ")[1]
    histograms = re.search(r"histograms ([^;]*);", listed)[1]
    return [re.findall(r"`(\w+)`", part) for part in (listed, histograms)]


def test_the_documentation_lists_what_is_rendered():
    listed, _ = documented()
    types = re.findall(r"^# TYPE kogpt_(\w+) \w+$", render(FakeEngine()).decode(), re.MULTILINE)
    assert sorted(listed) == sorted(types)
    assert len(listed) > 20


def test_histograms_have_all_that_prometheus_asks_of_them():
    _, histograms = documented()
    families = text_string_to_metric_families(render(FakeEngine()).decode())
    found = {each.name: each for each in families if each.type == "histogram"}
    assert sorted(found) == sorted(f"kogpt_{each}" for each in histograms)
    for name, family in found.items():
        series = {sample.name for sample in family.samples}
        assert series == {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
        bounds = [s.labels["le"] for s in family.samples if s.name == f"{name}_bucket"]
        assert bounds[-1] == "+Inf"


def test_while_it_loads_there_is_one_figure():
    lines = render(None).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["kogpt_ready 0.0"]
