"""The log's file: every hit a line, rotated, private, and following what is erased."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from kogpt_bot.messages import ChannelKey
from kogpt_bot.moderation.file import HitFile
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.retention import EVERY_S, Retention
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store.profanity import ERASED
from kogpt_bot.store.profanity_values import (
    Direction,
    Finding,
    Hit,
    HitFilter,
    HitText,
    Outcome,
)
from tests.fakes.clock import FakeClock

ROOM = ChannelKey("fake", "room")
NAMES = Pseudonyms(b"k" * 32)


@pytest.fixture
def table(store):
    return store.profanity


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hits.jsonl"


@pytest.fixture
def file(path):
    made = HitFile(path, max_bytes=4000, backups=2)
    yield made
    made.close()


def hit(id_: int, text: str = "이 씨발 놈") -> Hit:
    row = HitText(
        datetime(2026, 1, 1, tzinfo=UTC), str(ROOM), Direction.INCOMING, "log", Outcome.SHOWN,
        "d", text, "full", person="p",
    )  # fmt: skip
    return Hit(id_, Finding(2, 4, "씨발", "씨발", "씨발", "욕설", 3, "ssibal"), row)


def ids(path) -> list[int]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_each_hit_is_a_line_that_only_the_owner_reads(file, path):
    file.write([hit(1), hit(2)])
    assert ids(path) == [1, 2]
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text().splitlines()[0])["matched"] == "씨발"


def test_it_rotates_and_old_files_go(file, path):
    for number in range(40):
        file.write([hit(number)])
    files = sorted(path.parent.glob("hits.jsonl*"))
    assert [each.name for each in files] == ["hits.jsonl", "hits.jsonl.1", "hits.jsonl.2"]
    assert all(each.stat().st_size <= 4000 for each in files)
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in files)
    assert ids(path)[-1] == 39


def test_what_is_erased_goes_from_every_file_and_writing_goes_on(file, path):
    for number in range(14):
        file.write([hit(number)])
    assert path.with_name("hits.jsonl.1").is_file()
    known = file.ids()
    assert file.erase(known - {3, 13}, {13}) == len(known) - 2
    file.write([hit(99)])
    assert file.ids() == {3, 13, 99}
    assert "[erased]" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_without_a_change_is_left_alone(file, path):
    file.write([hit(1)])
    before = path.stat().st_ino
    assert file.erase(set(), set()) == 0
    assert path.stat().st_ino == before


def test_a_line_cut_in_two_is_no_obstacle(file, path):
    file.write([hit(1)])
    with path.open("a") as out:
        out.write('{"id": 2, "te\n')
    assert file.ids() == {1}
    file.erase({1}, set())
    assert path.read_text() == ""


async def said(table, clock, file, text, person="u1", detector=None):
    log = ProfanityLog(table, NAMES, clock, file=file)
    await log.said(
        Direction.INCOMING, ROOM, person, text, detector.find(text),
        policy="log", outcome=Outcome.SHOWN, message=f"{person}{text}",
    )  # fmt: skip


async def test_the_sweep_erases_what_is_old_in_the_table_and_the_file(table, file, path, detector):
    clock = FakeClock()
    await said(table, clock, file, "씨발", detector=detector)
    clock.time += timedelta(days=20).total_seconds()
    await said(table, clock, file, "병신", detector=detector)
    sweep = Retention(table, clock, days=30, file=file)
    assert await sweep.sweep() == 0
    assert len(ids(path)) == 2
    clock.time += timedelta(days=11).total_seconds()
    assert await sweep.sweep() == 1
    (left,) = await table.hits(HitFilter())
    assert ids(path) == [left.id]
    assert EVERY_S <= 3600


async def test_who_is_erased_is_gone_from_table_and_file(table, file, path, detector):
    clock = FakeClock()
    await said(table, clock, file, "씨발", "u1", detector)
    await said(table, clock, file, "병신아", "u2", detector)
    me = NAMES.person("fake", "u1")
    answer = HitText(
        clock.now(), str(ROOM), Direction.ANSWER, "log", Outcome.SHOWN, "d", "답 씨발", "full",
        person=NAMES.person("fake", "u2"), people=f"{NAMES.person('fake', 'u2')} {me}",
        prompt="u1이 한 말", generated="답 씨발", request={"prompt_ids": [1]},
    )  # fmt: skip
    found = Finding(2, 4, "씨발", "씨발", "씨발", "욕설", 3, "ssibal")
    _, hits = await table.record(answer, [found])
    file.write(hits)
    assert await table.erase_person(me) == 1
    await Retention(table, clock, days=30, file=file).sweep()
    last, other = await table.hits(HitFilter())
    assert other.text.text == "병신아"
    assert {last.text.text, last.text.prompt, last.text.generated} == {ERASED}
    assert last.text.request is None
    assert last.found.canonical == "씨발"
    content = path.read_text()
    assert me not in content
    assert "u1이 한 말" not in content
    assert len(content.splitlines()) == 2


async def test_erasing_in_one_channel_leaves_the_others(table, file, detector):
    clock = FakeClock()
    await said(table, clock, file, "씨발", "u1", detector)
    me = NAMES.person("fake", "u1")
    assert await table.erase_person(me, "fake/-/other/-") == 0
    assert await table.erase_channel("fake/-/other/-") == 0
    assert await table.erase_channel(str(ROOM)) == 1
    assert await table.hits(HitFilter()) == []


async def test_a_full_disk_does_not_stop_the_log(table, tmp_path, detector):
    nowhere = HitFile(tmp_path / "missing" / "hits.jsonl", max_bytes=1000, backups=1)
    with pytest.raises(OSError, match="missing"):
        nowhere.write([hit(1)])
    await said(table, FakeClock(), nowhere, "씨발", detector=detector)
    assert len(await table.hits(HitFilter())) == 1
