"""What is deployed names only what there is: metrics, alarms, keys of the configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from kogpt_bot import config
from kogpt_bot.generation.metrics import render as render_engine
from tests.fakes import view
from tests.fakes.fake_engine import FakeEngine

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
FUNCTIONS = {
    "and", "by", "deriv", "histogram_quantile", "increase", "le", "rate", "sum", "or", "on",
}  # fmt: skip
PROMETHEUS_OWN = {"up"}  # Prometheus makes it itself


@pytest.fixture
async def exported():
    """Return the names of all samples that /metrics gives, with their labels."""
    text = await view.exported() + render_engine(FakeEngine()).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def dashboard():
    return json.loads((DEPLOY / "grafana/dashboards/kogpt-bot.json").read_text())


def rules():
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions():
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for panel in dashboard()["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel["targets"]]
    return found


def used(expression):
    """Return metric -> labels that an expression of PromQL names."""
    bare = re.sub(r"\[[^\]]*\]", "", expression)
    by = {word for group in re.findall(r"by \(([^)]*)\)", bare) for word in group.split(", ")}
    bare = re.sub(r"by \([^)]*\)", "", bare)
    found = {}
    for name, labels in re.findall(r"\b([a-z_:]+)\b(\{[^}]*\})?", bare):
        if name not in FUNCTIONS:
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
    return {name: labels | by for name, labels in found.items()}


async def test_every_query_names_a_metric_and_labels_that_are_exported(exported):
    checked = 0
    for where, expression in expressions():
        metrics = used(expression)
        assert metrics, (where, expression)
        for name, labels in metrics.items():
            if name in PROMETHEUS_OWN:
                continue
            assert name in exported, (where, name)
            assert labels - {"job"} <= exported[name], (where, name, labels)
            checked += 1
    assert checked > 50


async def test_the_check_of_queries_can_fail(exported):
    assert "kogpt_bot_no_such_metric" in used("rate(kogpt_bot_no_such_metric[5m])")
    assert "kogpt_bot_no_such_metric" not in exported
    assert used('sum by (adapter) (rate(a_total{x="y",z=~"q|r"}[5m])) > 0.1') == {
        "a_total": {"x", "z", "adapter"}
    }


def test_the_panels_do_not_overlap_and_have_a_title():
    cells = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def test_the_documentation_explains_every_alarm_and_no_other():
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(KogptBot\w+)` \|", text, re.MULTILINE)
    assert explained == [rule["alert"] for rule in rules()]


def test_the_documentation_explains_the_daemons_own_log_events_and_no_others():
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = text.partition("| event | what it means |")[2].partition("\n\n")[0]
    explained = set(re.findall(r"`([a-z_]+)`", "\n".join(
        row.split("|")[1] for row in table.splitlines() if row.count("|") > 2
    )))  # fmt: skip
    assert explained
    sources = [*ROOT.glob("kogpt_bot/**/*.py"), *ROOT.glob("adapters/**/*.py")]
    code = {path: path.read_text(encoding="utf-8") for path in sources}
    everything = "\n".join(code.values())
    assert {event for event in explained if f'"{event}"' not in everything} == set()
    own = [
        text
        for path, text in code.items()
        if path.is_relative_to(ROOT / "kogpt_bot/ops")
        or path.is_relative_to(ROOT / "kogpt_bot/console")
        or path.name in ("app.py", "supervisor.py")
    ]
    calls = r'log\.(?:info|warning|error|critical|exception)\(\s*"([a-z_]+)"'
    logged = {event for text in own for event in re.findall(calls, text)}
    assert logged - explained == set()


def test_the_containers_configuration_is_one(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_bytes((DEPLOY / "config.yaml").read_bytes())
    settings = config.load(file)
    assert settings.console.token_file == "/run/secrets/console_token"
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    bot = compose["services"]["bot"]
    assert {
        secret for service in compose["services"].values() for secret in service["secrets"]
    } == (set(compose["secrets"]))
    examples = {path.name for path in (DEPLOY / "secrets.example").iterdir()}
    assert examples == set(compose["secrets"])
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    grace = int(bot["stop_grace_period"].removesuffix("s"))
    assert grace >= 25


def test_the_unit_says_what_the_daemon_does():
    unit = (DEPLOY / "kogpt-bot.service").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert values["Type"] == "notify"
    assert values["RestartPreventExitStatus"] == "75 78"
    assert int(values["TimeoutStopSec"]) > 25
    assert int(values["WatchdogSec"]) >= 30
    for key in ("DynamicUser", "NoNewPrivileges", "PrivateTmp"):
        assert values[key] == "yes"
    assert values["ProtectSystem"] == "strict"
