"""What systemd hears."""

import os
import socket
import time

import pytest

from kogpt_bot.metrics import Metrics
from kogpt_bot.ops.notify import Notifier
from kogpt_bot.ops.watchdog import keep_pinging
from tests.fakes.clock import FakeClock


@pytest.fixture
def manager(tmp_path):
    """Listen as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = str(tmp_path / "notify")
        listener.bind(path)
        listener.setblocking(False)
        yield listener, path


def heard(listener):
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def test_the_messages(manager):
    listener, path = manager
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "HOME": "/x"}
    notifier = Notifier.from_environment(environment)
    assert environment == {"HOME": "/x"}
    assert notifier.watchdog_s == 30.0
    notifier.ready("two\nlines")
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    notifier.ping()
    notifier.stopping()
    first, second, third, last = heard(listener)
    assert first == "READY=1\nSTATUS=two lines"
    assert second.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert before <= int(second.rpartition("=")[2]) <= time.monotonic_ns() // 1000
    assert third == "WATCHDOG=1"
    assert last.startswith("STOPPING=1\n")


def test_an_abstract_socket():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"kogpt-bot-{os.getpid()}"
        listener.bind(f"\0{name}")
        listener.setblocking(False)
        Notifier(f"@{name}").ping()
        assert heard(listener) == ["WATCHDOG=1"]


def test_without_systemd_nothing_is_said_and_nothing_fails(tmp_path):
    quiet = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    quiet.ready("x")
    assert quiet.watchdog_s is None
    Notifier(str(tmp_path / "gone")).ping()


def test_a_watchdog_of_another_process_is_not_ours(manager):
    _, path = manager
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environment(environment).watchdog_s is None


async def test_pings_end_while_the_engine_is_stuck(manager):
    listener, path = manager

    class Enough(Exception):
        pass

    class Counting(FakeClock):
        turns = 0

        async def sleep(self, seconds):
            assert seconds == 10.0
            self.turns += 1
            if self.turns == 6:
                raise Enough
            await super().sleep(seconds)

    clock, metrics = Counting(), Metrics()
    with pytest.raises(Enough):
        await keep_pinging(
            Notifier(path, 30.0),
            clock,
            metrics,
            lambda: "no step" if 2 <= clock.turns < 4 else "",
            lambda: "fine",
        )
    said = [each for each in heard(listener) if each == "WATCHDOG=1"]
    assert len(said) == 4
    assert metrics.registry.get_sample_value("kogpt_bot_event_loop_late_seconds") == 0.0
