"""Throttling, the file, and watching live."""

import asyncio
import io
import json
import logging
import os
import threading

import pytest
import structlog

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.ops import logging as logs
from kogpt_bot.ops.logging.file import DAY_S, PIECES, LogFile
from kogpt_bot.ops.logging.pipeline import MAX_UNREAD
from kogpt_bot.ops.logging.throttle import BURST, MAX_KINDS, WINDOW_S, Kind, Throttle
from tests.unit.ops.test_redact import root  # noqa: F401  # a fixture

LIMIT_BYTES = 50 << 20


class Time:
    """A time that is set."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


def kind(event="e"):
    return Kind("kogpt_bot", event, logging.INFO)


def test_the_first_ones_are_shown_then_their_number():
    now = Time()
    throttle = Throttle(now)
    shown = sum(throttle.admit(kind()) for _ in range(1_000_000))
    assert shown == BURST
    assert throttle.due() == []
    now.now = WINDOW_S
    assert [(each.kind, each.count) for each in throttle.due()] == [(kind(), 1_000_000 - BURST)]
    assert throttle.due() == []
    assert throttle.admit(kind())


def test_kinds_do_not_hide_each_other_and_are_bounded():
    throttle = Throttle(Time())
    for number in range(3 * MAX_KINDS):
        assert throttle.admit(kind(f"e{number}"))
    for _ in range(BURST + 5):
        throttle.admit(kind("often"))
    for number in range(2 * MAX_KINDS):
        throttle.admit(kind(f"f{number}"))
    assert [each.count for each in throttle.due()] == [5]  # it had to make room, and is told


@pytest.fixture
def pipeline(root, tmp_path):  # noqa: F811
    """Log as JSON, and to a file."""
    output = io.StringIO()
    file = LogFile(tmp_path / "logs" / "bot.log", max_bytes=50_000, keep_days=14)
    made = logs.configure("info", "json", output, file=file, monotonic=Time())
    made.text = output.getvalue
    made.file = file
    return made


def on_disk(folder):
    return sum(each.stat().st_size for each in folder.iterdir())


def test_a_flood_of_one_event_stays_small_on_disk(pipeline, tmp_path):
    """5,000 here: what a million take follows from the size of those that are shown."""
    log = structlog.get_logger("kogpt_bot.flood")
    for _ in range(5_000):
        log.warning("the_same", reason="again and again")
    shown = pipeline.text().splitlines()
    assert len(shown) == BURST
    per_event = len(shown[0]) + 1
    # If the million came slowly enough to be shown at the full rate, the file's bound holds.
    assert on_disk(tmp_path / "logs") <= BURST * per_event
    assert pipeline.suppressed == 5_000 - BURST
    pipeline.close()
    last = json.loads(pipeline.text().splitlines()[-1])
    assert (last["event"], last["of"], last["level"]) == ("events_not_shown", "the_same", "warning")
    assert last["count"] + len(shown) >= 5_000


def test_the_file_is_bounded_whatever_is_written(tmp_path):
    file = LogFile(tmp_path / "bot.log", max_bytes=LIMIT_BYTES // 1000, keep_days=14)
    file.setFormatter(logging.Formatter("%(message)s"))
    for number in range(3_000):
        file.emit(logging.makeLogRecord({"msg": f"{number:05} {'x' * 194}"}))  # 0.6 MB in all
    file.close()
    assert on_disk(tmp_path) <= LIMIT_BYTES // 1000
    assert on_disk(tmp_path) > LIMIT_BYTES // 1000 * (PIECES - 2) // PIECES
    assert "02999" in (tmp_path / "bot.log").read_text()
    for each in tmp_path.iterdir():
        assert each.stat().st_mode & 0o777 == 0o600


def test_old_lines_go(tmp_path):
    now = Time(20_000 * DAY_S + 5)
    file = LogFile(tmp_path / "bot.log", max_bytes=1 << 20, keep_days=14, now=now)
    file.setFormatter(logging.Formatter("%(message)s"))
    for day in range(40):
        file.emit(logging.makeLogRecord({"msg": f"day {day}"}))
        for each in tmp_path.iterdir():
            if each.read_text() == f"day {day}\n":
                os.utime(each, (now.now, now.now))
        now.now += DAY_S
        file.tidy()
    left = sorted(each.read_text() for each in file.pieces())
    assert left == [f"day {day}\n" for day in range(40 - 13, 40)]
    assert (tmp_path / "bot.log").read_text() == ""
    file.close()


def test_it_goes_on_in_the_file_that_is_there(tmp_path):
    for number in range(2):
        file = LogFile(tmp_path / "bot.log", max_bytes=1 << 20, keep_days=14)
        file.emit(logging.makeLogRecord({"msg": f"run {number}"}))
        file.close()
    assert (tmp_path / "bot.log").read_text() == "run 0\nrun 1\n"


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"logging\.file: .* cannot be written"):
        LogFile(tmp_path / "file" / "bot.log", max_bytes=1 << 20, keep_days=14)


def test_a_full_disk_stops_neither_the_log_nor_the_program(pipeline, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline.file, "stream", type("Full", (), {"write": full, "tell": lambda _: 0, "flush": lambda _: None, "close": lambda _: None})())  # fmt: skip
    log = structlog.get_logger("kogpt_bot.x")
    for _ in range(3):
        log.info("still_here")
    assert pipeline.text().count("still_here") == 3
    assert capsys.readouterr().err.count("No space left on device") == 1


async def test_watchers_hear_what_was_and_what_comes_from_any_thread(pipeline):
    log = structlog.get_logger("kogpt_bot.x")
    for number in range(5):
        log.info("before", n=number)
    with pipeline.watch(past=2) as watcher:
        thread = threading.Thread(target=log.info, args=("from_a_thread",))
        thread.start()
        thread.join()
        heard = [json.loads(await asyncio.wait_for(watcher.next(), 5)) for _ in range(3)]
    assert [(each["event"], each.get("n")) for each in heard] == [
        ("before", 3),
        ("before", 4),
        ("from_a_thread", None),
    ]


async def test_a_slow_watcher_misses_lines_and_holds_nobody_up(pipeline):
    with pipeline.watch(past=0) as watcher:
        for number in range(MAX_UNREAD + 50):
            structlog.get_logger("kogpt_bot.x").info(f"e{number}")
        await asyncio.sleep(0)
        assert watcher.missed == 50
        assert json.loads(await watcher.next())["event"] == "e0"


def test_the_level_can_change(pipeline):
    log = structlog.get_logger("kogpt_bot.x")
    log.debug("hidden")
    logs.set_level("debug")
    log.debug("shown")
    assert "hidden" not in pipeline.text()
    assert "shown" in pipeline.text()
    assert pipeline.counts["debug"] == 1


def test_an_event_that_cannot_be_shown_hurts_nobody_and_tells_nothing(pipeline, capsys):
    class Strange:
        def __repr__(self):
            raise ValueError("hunter2secret")

    logging.getLogger().handlers[:] = [pipeline]  # pytest's own would raise
    log = structlog.get_logger("kogpt_bot.x")
    log.info("strange", what=Strange())
    log.info("the_next")
    assert "the_next" in pipeline.text()
    said = capsys.readouterr().err
    assert said == "a log event of kogpt_bot.x could not be written: ValueError\n"
