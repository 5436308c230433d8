"""Reading the configuration again: only what is good takes effect."""

import asyncio
import json
import os
import random
import re
from dataclasses import fields

import pytest
import yaml
from structlog.testing import capture_logs

from kogpt_bot import config
from kogpt_bot.config import Settings
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.metrics import Metrics
from kogpt_bot.ops.notify import Notifier
from kogpt_bot.ops.reload import LIVE, NEEDS_RESTART, Reloader
from tests.fakes.clock import FakeClock
from tests.unit.config.test_fuzz import FULL, TEXT, mutate


class Applied:
    """Keeps what was to be applied."""

    def __init__(self):
        self.pairs = []
        self.error = None

    async def __call__(self, old, new):
        if self.error:
            raise self.error
        self.pairs.append((old, new))


@pytest.fixture
def setup(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("defaults: {stream: false}\n")
    applied = Applied()
    metrics = Metrics()

    def make(clock=None):
        return Reloader(
            config.load(path), lambda: config.load(path), applied,
            clock=clock or FakeClock(), metrics=metrics, notifier=Notifier(),
        )  # fmt: skip

    make.path, make.applied, make.metrics = path, applied, metrics
    return make


def test_every_section_is_live_or_known_to_need_a_restart():
    parts = {key for key in NEEDS_RESTART if "." in key}
    assert {each.name for each in fields(Settings)} == LIVE | NEEDS_RESTART - parts
    assert {key.partition(".")[0] for key in parts} <= LIVE
    assert not LIVE & NEEDS_RESTART


async def test_good_settings_are_applied(setup):
    reloader = setup()
    setup.path.write_text("defaults: {stream: true}\n")
    with capture_logs() as logs:
        assert (await reloader.reload()).result == "applied"
    assert [new.defaults.stream for _, new in setup.applied.pairs] == [True]
    assert reloader.settings.defaults.stream
    assert logs == [
        {"event": "configuration_reloaded", "changed": ["defaults"], "log_level": "info"}
    ]
    assert setup.metrics.registry.get_sample_value("kogpt_bot_reloads_total", {"result": "applied"})


async def test_bad_settings_change_nothing_and_each_fault_is_said_with_its_place(setup):
    reloader = setup()
    before = reloader.settings
    setup.path.write_text("defaults:\n  stream: 7\n  nonsense: 1\nlogging: {level: loud}\n")
    with capture_logs() as logs:
        last = await reloader.reload()
    assert reloader.settings is before
    assert setup.applied.pairs == []
    assert last.result == "refused"
    faults = [each["fault"].removeprefix(f"{setup.path}:") for each in logs]
    assert [each.split(": ")[0] for each in faults] == [
        "2:3 defaults.stream",
        "3:3 defaults.nonsense",
        "4:11 logging.level",
    ]
    assert list(last.faults) == [each["fault"] for each in logs]


@pytest.mark.parametrize("error", [ConfigurationError("adapters.x: no token"), OSError("a bug")])
async def test_what_cannot_be_applied_is_not_in_force(setup, error):
    reloader = setup()
    before = reloader.settings
    setup.path.write_text("defaults: {stream: true}\n")
    setup.applied.error = error
    with capture_logs():
        assert (await reloader.reload()).result == "refused"
    assert reloader.settings is before


async def test_what_needs_a_restart_is_said(setup, tmp_path):
    reloader = setup()
    setup.path.write_text(f"data_dir: '{tmp_path}'\n")
    with capture_logs() as logs:
        await reloader.reload()
    said = [each["key"] for each in logs if each["event"] == "reload_needs_restart"]
    assert said == ["data_dir"]


async def test_a_hundred_mutated_files_change_nothing(tmp_path):
    """Each is refused with a key for each fault and changes nothing, or is really fine."""
    path = tmp_path / "c.yaml"
    path.write_text(TEXT, encoding="utf-8")
    applied = Applied()
    reloader = Reloader(
        config.load(path), lambda: config.load(path), applied,
        clock=FakeClock(), metrics=Metrics(), notifier=Notifier(),
    )  # fmt: skip
    before, refused, seed, good = reloader.settings, 0, 0, yaml.safe_load(FULL)
    with capture_logs():
        while refused < 100:
            rng = random.Random(seed := seed + 1)
            document, _ = mutate(good, rng)
            path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
            last = await reloader.reload()
            if last.result != "refused":
                reloader.settings = before
                continue
            refused += 1
            assert reloader.settings is before
            for fault in last.faults:
                assert re.match(rf"{path}:\d+:\d+ .", fault), fault
                assert re.match(rf"{path}:\d+:\d+ [^ ]+: .", fault) or "section with keys" in fault
    assert all(old is before for old, _ in applied.pairs)


async def running(reloader, path, asked):
    task = asyncio.create_task(reloader.run(asked, path))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def reloads(reloader, before=None):
    async with asyncio.timeout(5):
        while reloader.last is before:
            await asyncio.sleep(0)
    return reloader.last


async def test_the_file_is_seen_to_change_also_when_an_editor_replaces_it(setup, tmp_path):
    reloader = setup()
    with capture_logs():
        task = await running(reloader, setup.path, asyncio.Event())
        setup.path.write_text("defaults: {stream: true}\n# longer\n")
        first = await reloads(reloader)
        assert reloader.settings.defaults.stream
        (tmp_path / "new").write_text("language: en\n")
        os.replace(tmp_path / "new", setup.path)
        second = await reloads(reloader, first)
        assert reloader.settings.language == "en"
        setup.path.unlink()  # an editor between two steps
        for _ in range(500):
            await asyncio.sleep(0)
        assert reloader.last is second
        setup.path.write_text("language: ko\n")
        await reloads(reloader, second)
        assert reloader.settings.language == "ko"
    task.cancel()
    await asyncio.wait([task])


async def test_a_wish_reloads_at_once(setup):
    class Still(FakeClock):
        async def sleep(self, seconds):
            await asyncio.Event().wait()

    reloader, asked = setup(Still()), asyncio.Event()
    with capture_logs():
        task = await running(reloader, setup.path, asked)
        asked.set()
        assert (await reloads(reloader)).result == "unchanged"
    task.cancel()
    await asyncio.wait([task])
