"""`kogpt-bot profanity list|show|export|stats|review|report|plot`, on a real database."""

import asyncio
import csv
import email
import json
import sys
from datetime import UTC, datetime, timedelta
from email.policy import default

import pytest
from typer.testing import CliRunner

from kogpt_bot.cli import app
from kogpt_bot.errors import ConfigurationError, Refused
from kogpt_bot.moderation.stats import OTHERS, TOP_CHANNELS, count
from kogpt_bot.store import Store
from kogpt_bot.store.database import sqlite_url
from kogpt_bot.store.profanity_values import Direction, Finding, HitPoint, HitText, Outcome

NOW = datetime.now(UTC).replace(microsecond=0)
ANSWER = HitText(
    at=NOW - timedelta(days=1),
    channel="discord/7/8/-",
    direction=Direction.ANSWER,
    policy="mask",
    outcome=Outcome.MASKED,
    digest="d",
    text="이 씨발 놈아",
    kept="full",
    message="3",
    person="p" * 24,
    people="p" * 24,
    prompt="코코는 친구다.\n\n민수: 안녕\n코코:",
    generated=" 이 씨발 놈아\n민수:",
    model="kakaobrain/kogpt",
    revision="KoGPT6B-ryan1.5b-float16",
    seed=7,
    sampling={"temperature": 0.5, "top_p": 0.9},
    request={"prompt_ids": [1, 2], "stops": ["\n민수:"]},
)
SAID = HitText(
    at=NOW,
    channel="telegram/-/-5/-",
    direction=Direction.INCOMING,
    policy="warn",
    outcome=Outcome.WARNED,
    digest="e",
    text="=젠장",
    kept="full",
    message="m1",
    person="q" * 24,
)
FOUND = Finding(2, 4, "씨발", "씨발", "씨발", "욕설", 3, "ssibal")
MILD = Finding(1, 3, "젠장", "=젠장", "젠장", "mild", 1, "jenjang")


@pytest.fixture
def log(tmp_path):
    """Make a database with two hits; return the configuration that names it."""

    async def fill() -> None:
        store = await Store.open(sqlite_url(tmp_path / "kogpt.sqlite3"))
        await store.profanity.record(ANSWER, [FOUND])
        await store.profanity.record(SAID, [MILD])
        await store.close()

    asyncio.run(fill())
    config = tmp_path / "c.yaml"
    config.write_text(f"data_dir: '{tmp_path}'\n")
    return config


@pytest.fixture
def run(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def profanity(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["profanity", *arguments, "--config", str(log)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return profanity


def test_list_shows_the_newest_first(run):
    lines = run("list").splitlines()
    assert lines[1].split()[0] == "2"
    assert "젠장" in lines[1]
    assert "씨발" in lines[2]
    assert lines[-1].strip() == "2 hits"


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--severity", "2"], [1]),
        (["--channel", "telegram"], [2]),
        (["--channel", "discord/7"], [1]),
        (["--channel", "discord/7/8/-"], [1]),
        (["--channel", "disc"], []),
        (["--direction", "answer"], [1]),
        (["--category", "mild"], [2]),
        (["--since", "12h"], [2]),
        (["--until", "12h"], [1]),
        (["--verdict", "none"], [2, 1]),
        (["--verdict", "right"], []),
        (["--limit", "1"], [2]),
    ],
)
def test_list_takes_filters(run, options, ids):
    out = run("list", "--json", *options)
    assert [json.loads(line)["id"] for line in out.splitlines()] == ids


@pytest.mark.parametrize(
    ("option", "value"),
    [("--since", "gestern"), ("--direction", "up"), ("--category", "x"), ("--verdict", "wrong")],
)
def test_a_wrong_filter_says_what_is_allowed(run, option, value):
    with pytest.raises(ConfigurationError, match="allowed: "):
        run("list", option, value)


def test_show_shows_everything(run):
    out = run("show", "1")
    for text in (
        "씨발",
        "kakaobrain/kogpt",
        "KoGPT6B-ryan1.5b-float16",
        "민수: 안녕",
        "0.5",
        "masked",
    ):
        assert text in out
    with pytest.raises(Refused, match="there is no hit 9"):
        run("show", "9")


def test_export_writes_json_lines_that_say_it_all(run):
    first, second = map(json.loads, run("export").splitlines())
    assert (first["seed"], first["prompt"], first["generated"]) == (
        7,
        ANSWER.prompt,
        ANSWER.generated,
    )
    assert first["text"][first["start"] : first["end"]] == first["matched"]
    assert second["matched"] == "젠장"


def test_export_writes_csv_that_no_spreadsheet_runs(run, tmp_path):
    run("export", "--csv", "-o", "hits.csv")
    path = tmp_path / "hits.csv"
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["prompt"] == ANSWER.prompt
    assert rows[1]["text"] == "'=젠장"


def test_export_reads_in_batches(run, monkeypatch):
    monkeypatch.setattr("kogpt_bot.moderation.cli.BATCH", 1)
    assert len(run("export").splitlines()) == 2
    assert len(run("export", "--csv").splitlines()) > 2
    assert run("export", "--csv").count("direction") == 1


def test_stats_count(run):
    values = json.loads(run("stats", "--json"))
    assert values["total"] == 2
    assert values["categories"] == {"욕설": 1, "mild": 1}
    assert values["outcomes"] == {"answer: masked": 1, "incoming: warned": 1}
    assert sum(values["days"].values()) == 2
    assert "incoming: warned" in run("stats")


def test_days_have_no_gap_and_many_channels_are_summed_up():
    points = [
        HitPoint(NOW - timedelta(days=3 * n), f"web/-/{n}/-", "answer", "shown", "욕설", 3, "none")
        for n in range(TOP_CHANNELS + 3)
    ]
    counted = count(points, UTC)
    assert len(counted.days) == 3 * (len(points) - 1) + 1
    assert counted.channels[-1] == (OTHERS, 3)
    assert counted.total == len(points)


def test_review_and_allowed(run):
    assert "allowed from now on, telegram/-/-5: 젠장" in run("review", "2", "--false-alarm")
    assert run("allowed") == "telegram/-/-5\t젠장\n"
    assert json.loads(run("list", "--json", "--verdict", "false-alarm"))["id"] == 2
    out = run("review", "1", "--false-alarm", "--everywhere", "--allow", "씨발라면")
    assert "everywhere: 씨발라면" in out
    assert "no longer allowed, everywhere: 씨발라면" in run("allowed", "--remove", "씨발라면")
    assert run("review", "2", "--right") == "hit 2: right\n"
    assert run("allowed") == ""
    with pytest.raises(Refused, match="not allowed by a review"):
        run("allowed", "--remove", "없는 말")
    with pytest.raises(ConfigurationError, match="--right or --false-alarm"):
        run("review", "1")
    with pytest.raises(ConfigurationError, match="go with --false-alarm"):
        run("review", "1", "--right", "--everywhere")


def test_report_writes_a_mail_and_says_that_it_was_not_sent(run, tmp_path):
    out = run("report", "1", "--from", "owner@example.org")
    assert "nothing was sent" in out
    path = tmp_path / "profanity-1.eml"
    assert path.stat().st_mode & 0o777 == 0o600
    message = email.message_from_bytes(path.read_bytes(), policy=default)
    assert message["To"] == "opensource+kogpt@kakaobrain.com"
    assert message["From"] == "owner@example.org"
    assert message["Date"].datetime is not None
    assert not message.defects
    body = message.get_body().get_content()
    for text in (
        ANSWER.prompt,
        ANSWER.generated,
        "seed: 7",
        ANSWER.revision,
        "top_p=0.9",
        "ssibal",
    ):
        assert text.replace("\n", "\r\n") in body.replace("\r\n", "\n").replace("\n", "\r\n")
    (evidence,) = message.iter_attachments()
    values = json.loads(evidence.get_content())
    assert values["request"]["prompt_ids"] == [1, 2]
    assert not {"channel", "person", "adapter"} & values.keys()


def test_a_report_needs_a_generated_text(run):
    with pytest.raises(Refused, match="not about a generated text"):
        run("report", "2")


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_plot_draws(run, tmp_path, kind):
    run("plot", "-o", f"p.{kind}")
    content = (tmp_path / f"p.{kind}").read_bytes()
    assert content.startswith(b"\x89PNG" if kind == "png" else b"<?xml")


def test_plot_without_hits_and_with_a_long_past(run, log, tmp_path):
    async def add() -> None:
        store = await Store.open(sqlite_url(tmp_path / "kogpt.sqlite3"))
        for n in range(80):
            old = HitText(
                NOW - timedelta(days=n), "web/-/방/-", Direction.NAME, "log", Outcome.SHOWN,
                str(n), "씨발", "full",
            )  # fmt: skip
            await store.profanity.record(old, [FOUND])
        await store.close()

    run("plot", "-o", "none.png", "--channel", "nowhere")
    asyncio.run(add())
    run("plot", "-o", "long.png", "--since", "90d")
    assert (tmp_path / "long.png").stat().st_size > 10_000


def test_plot_says_what_is_missing(run, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"allowed endings: \.png"):
        run("plot", "-o", "p.gif")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'kogpt-bot\[plots\]'"):
        run("plot", "-o", "p.png")
