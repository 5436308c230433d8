"""A stop in the middle, and trouble with the database or the generation service.

`KOGPT_BOT_STOPS` says how often the daemon is asked to stop (2), `KOGPT_BOT_LOCK_S` for how long
the database is locked (6).
"""

import asyncio
import os
import random
import resource
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest

from tests.fault.conftest import running

STOPS = int(os.environ.get("KOGPT_BOT_STOPS", "2"))
LOCK_S = float(os.environ.get("KOGPT_BOT_LOCK_S", "6"))
RECOVERY_S = 10.0  # until all that was said meanwhile is acknowledged


def say(platform, count, *, prefix="말"):
    return [
        platform.say(f"{prefix} {n}", channel=f"c{n % 5}", author=f"{prefix}{n}")
        for n in range(count)
    ]


async def recovered(platform, questions):
    """Wait until all of them are taken, which is when they are on disk."""
    began = time.monotonic()
    await platform.until(lambda: set(questions) <= platform.acknowledged, timeout_s=RECOVERY_S)
    print(f"acknowledged {time.monotonic() - began:.1f} s after the fault")


def answered_once(platform, questions):
    answers = platform.answers()
    return all(answers[each] == 1 for each in questions) and all(
        shown.final for shown in platform.shown.values() if shown.reply_to in questions
    )


@pytest.mark.timeout(60 + STOPS * 30)
async def test_a_stop_in_the_middle_ends_in_time_and_loses_nothing(make_daemon, keyed, service):
    service.pace_s = 0.01
    daemon = make_daemon({"keyed": keyed}, drain_s=2)
    questions = []
    for number in range(STOPS):
        await daemon.start()
        questions += say(keyed, 20, prefix=f"{number}회")
        asked = len(service.requests)
        async with asyncio.timeout(30):
            while len(service.requests) < asked + 3:  # it is generating
                await asyncio.sleep(0.01)
        started = time.monotonic()
        assert await daemon.terminate() == 0
        assert time.monotonic() - started < 25
    async with running(daemon):
        await daemon.until_ended(len(questions))
    assert answered_once(keyed, questions)


async def test_a_locked_database_makes_everybody_wait_and_loses_nothing(make_daemon, keyed):
    daemon = make_daemon({"keyed": keyed})
    async with running(daemon):
        before = say(keyed, 5, prefix="전")
        await daemon.until_ended(5)
        with closing(sqlite3.connect(daemon.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            during = say(keyed, 20, prefix="동안")
            await asyncio.sleep(LOCK_S)  # what is tested: a lock of this length
            assert not keyed.acknowledged & set(during)
            other.execute("ROLLBACK")
        await recovered(keyed, during)
        await daemon.until_ended(25)
    assert answered_once(keyed, before + during)


async def test_a_full_disk_acknowledges_nothing_and_recovers(make_daemon, keyed):
    """No file of the daemon's may grow: what a full disk does to a database."""
    daemon = make_daemon({"keyed": keyed})
    async with running(daemon):
        before = say(keyed, 5, prefix="전")
        await daemon.until_ended(5)
        pid, (soft, hard) = daemon.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        during = say(keyed, 20, prefix="동안")
        await keyed.until(lambda: len(keyed.failures) >= 20)
        assert not keyed.acknowledged & set(during)
        stored = {id_ for (_, id_) in daemon.turns()}
        assert keyed.acknowledged <= stored
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        await recovered(keyed, during)
        await daemon.until_ended(25)
    assert answered_once(keyed, before + during)


async def test_a_corrupt_database_is_set_aside_and_the_daemon_goes_on(make_daemon, keyed):
    daemon = make_daemon({"keyed": keyed})
    async with running(daemon):
        say(keyed, 40, prefix="전")
        await daemon.until_ended(40)
        with closing(sqlite3.connect(daemon.database)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = daemon.database.stat().st_size
        with daemon.database.open("r+b") as file:
            for place in range(4096, size, 4096):
                file.seek(place)
                file.write(os.urandom(4096))
        after = say(keyed, 20, prefix="후")
        await recovered(keyed, after)
        await keyed.until(lambda: answered_once(keyed, after), timeout_s=90)
        assert {id_ for (_, id_) in daemon.turns()} >= set(after)
    aside = [each.name for each in daemon.database.parent.glob("*.corrupt-*")]
    assert aside
    assert aside[0].split("-wal")[0].split("-shm")[0] in daemon.log.read_text()


async def test_a_restart_of_postgresql_is_sat_out(make_daemon, keyed, private_postgres):
    daemon = make_daemon({"keyed": keyed}, postgres=private_postgres)
    async with running(daemon):
        before = say(keyed, 10, prefix="전")
        await daemon.until_ended(10)
        late = say(keyed, 10, prefix="직전")
        private_postgres.stop("immediate")
        during = say(keyed, 20, prefix="동안")
        await keyed.until(lambda: len(keyed.failures) >= 5)
        assert not keyed.acknowledged & set(during)
        private_postgres.start()
        await recovered(keyed, during)
        await daemon.until_ended(40)
    assert answered_once(keyed, before + late + during)


@pytest.mark.timeout(180)
async def test_of_two_daemons_one_is_killed_and_the_other_answers_for_it(
    make_daemon, keyed, private_postgres, tmp_path
):
    """Each message reaches one of the two, some reach both; each is answered once, in order."""
    pair = [
        make_daemon({"keyed": keyed}, postgres=private_postgres, folder=tmp_path / name)
        for name in ("one", "two")
    ]
    for daemon in pair:
        await daemon.start()
    keyed.draw = random.Random(7)
    said = {f"c{n}": [] for n in range(10)}
    for number in range(100):
        channel = f"c{number % 10}"
        said[channel].append(keyed.say(f"{number}", channel=channel, author=f"u{number}"))
        await asyncio.sleep(0.01)
        if number == 60:
            pair[0].process.kill()
            await pair[0].process.wait()
    await pair[1].until_ended(100)
    answers = keyed.answers()
    assert set(answers.values()) == {1}
    shown = {channel: [] for channel in said}
    for each in keyed.shown.values():
        shown[each.channel].append(each.reply_to)
    arrival = keyed.acknowledged_in_order
    for channel, questions in said.items():
        assert sorted(shown[channel]) == sorted(questions)
        kept = [each for each in arrival if each in shown[channel]]
        assert shown[channel] == kept
    assert await pair[1].terminate() == 0


async def test_a_service_that_fails_is_asked_again(make_daemon, keyed, service):
    daemon = make_daemon({"keyed": keyed})
    async with running(daemon):
        service.failures = 2  # in the middle of an answer, as with NaN or no memory left
        questions = say(keyed, 5)
        states = await daemon.until_ended(5)
    assert service.broken == 2
    assert states == Counter(replied=5)
    assert answered_once(keyed, questions)


async def test_messages_wait_for_a_service_that_is_away(make_daemon, keyed, service):
    daemon = make_daemon({"keyed": keyed})
    async with running(daemon):
        before = say(keyed, 5, prefix="전")
        await daemon.until_ended(5)
        await service.go()
        during = say(keyed, 10, prefix="동안")
        await keyed.until(lambda: set(during) <= keyed.acknowledged)
        assert not set(keyed.answers()) & set(during)
        await service.come()
        await daemon.until_ended(15)
    assert answered_once(keyed, before + during)
