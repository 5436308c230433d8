"""Adapters under supervision: failing, failing for good, exchanged, counted."""

import asyncio

import pytest

from kogpt_bot import (
    BadCredentials,
    ChannelKey,
    ConfigurationError,
    Connection,
    Outgoing,
    RetryAfter,
    Unreachable,
)
from kogpt_bot.metrics import Metrics
from kogpt_bot.ops import adapters as module
from kogpt_bot.ops.adapters import AdapterHost, AdapterState
from kogpt_bot.testing import FakeAdapter, RecordingInbox
from tests.fakes.clock import FakeClock

ROOM = ChannelKey("flaky", "room")


class Flaky(FakeAdapter):
    """Raises `failures` from `run`, one a run; runs for `lasts_s` before each."""

    def __init__(self, name="flaky", failures=(), clock=None, lasts_s=0.0):
        super().__init__()
        self.name = name
        self.failures = list(failures)
        self.runs = []
        self.clock = clock
        self.lasts_s = lasts_s
        self.link = Connection(True)

    def connection(self):
        return self.link

    async def run(self, inbox):
        self.runs.append(self.clock.monotonic() if self.clock else 0.0)
        if self.failures:
            if self.lasts_s:
                await self.clock.sleep(self.lasts_s)
            raise self.failures.pop(0)
        await super().run(inbox)


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def counted(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


async def test_one_that_fails_comes_back_with_growing_pauses_and_the_others_go_on():
    clock, metrics = FakeClock(), Metrics()
    flaky = Flaky(failures=[Unreachable("gone")] * 8 + [RuntimeError("a bug")], clock=clock)
    steady = Flaky("steady")
    host = AdapterHost({"flaky": flaky, "steady": steady}, clock, metrics)
    host.start(RecordingInbox())
    await until(lambda: len(flaky.runs) == 10)
    gaps = [b - a for a, b in zip(flaky.runs, flaky.runs[1:], strict=False)]
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    await until(lambda: host.adapters["flaky"].status.ready)
    assert host.adapters["flaky"].status.restarts == 9
    assert counted(metrics, "kogpt_bot_adapter_restarts_total", adapter="flaky") == 9
    assert len(steady.runs) == 1
    assert host.adapters["steady"].status.ready
    await host.stop()
    assert {each.status.state for each in host.adapters.values()} == {AdapterState.STOPPED}
    assert len(asyncio.all_tasks()) == 1


async def test_after_a_good_while_the_pause_is_short_again():
    clock = FakeClock()
    flaky = Flaky(failures=[Unreachable("gone")] * 4, clock=clock, lasts_s=module.RAN_WELL_S)
    host = AdapterHost({"flaky": flaky}, clock, Metrics())
    host.start(RecordingInbox())
    await until(lambda: len(flaky.runs) == 5)
    gaps = [b - a for a, b in zip(flaky.runs, flaky.runs[1:], strict=False)]
    assert gaps == [module.RAN_WELL_S + 1] * 4
    await host.stop()


@pytest.mark.parametrize(
    ("error", "detail", "remedy"),
    [
        (BadCredentials("the token is refused"), "the token is refused", "correct adapters.flaky"),
        (ConfigurationError("port 1 is taken; set another"), "port 1 is taken", "set another"),
    ],
)
async def test_what_cannot_get_better_ends_that_adapter_only_and_says_what_to_do(
    error, detail, remedy
):
    flaky, steady = Flaky(failures=[error]), Flaky("steady")
    host = AdapterHost({"flaky": flaky, "steady": steady}, FakeClock(), Metrics())
    host.start(RecordingInbox())
    await asyncio.wait_for(host.wait_any_ended(), 5)
    status = host.adapters["flaky"].status
    assert (status.state, status.detail) == (AdapterState.FAILED, detail)
    assert status.remedy.startswith(remedy)
    assert host.running
    assert host.failure is error
    assert len(flaky.runs) == 1
    await host.stop()
    assert host.adapters["flaky"].status.state is AdapterState.FAILED


async def test_a_stop_in_the_pause_is_a_stop_at_once():
    flaky = Flaky(failures=[Unreachable("gone")])

    class Still(FakeClock):
        async def sleep(self, seconds):
            await asyncio.Event().wait()

    host = AdapterHost({"flaky": flaky}, Still(), Metrics())
    host.start(RecordingInbox())
    await until(lambda: host.adapters["flaky"].status.state is AdapterState.RESTARTING)
    await asyncio.wait_for(host.stop(), 5)
    assert len(asyncio.all_tasks()) == 1


async def test_an_adapter_that_does_not_stop_is_cancelled(monkeypatch):
    monkeypatch.setattr(module, "STOP_PATIENCE_S", 0.01)

    class Deaf(FakeAdapter):
        async def stop(self):
            await asyncio.Event().wait()

    host = AdapterHost({"fake": Deaf()}, FakeClock(), Metrics())
    host.start(RecordingInbox())
    await asyncio.sleep(0)
    await asyncio.wait_for(host.stop(), 5)
    assert len(asyncio.all_tasks()) == 1


async def test_an_answer_goes_on_with_the_successor():
    first, second = Flaky(), Flaky()
    host = AdapterHost({"flaky": first}, FakeClock(), Metrics())
    host.start(RecordingInbox())
    held = host.adapters["flaky"]
    first.shown[ROOM] = {}
    second.shown[ROOM] = first.shown[ROOM]  # the same platform
    message_id = await held.send(ROOM, Outgoing("반쯤", final=False))
    await host.apply({"flaky": second}, removed=frozenset(), before_start=nothing)
    await held.edit(ROOM, message_id, Outgoing("다 썼어요"))
    assert [each.text for each in second.shown[ROOM].values()] == ["다 썼어요"]
    assert host.adapters["flaky"] is held
    await host.stop()


async def nothing(_adapters):
    pass


async def test_adapters_come_and_go():
    host = AdapterHost({"flaky": Flaky()}, FakeClock(), Metrics())
    host.start(RecordingInbox())
    told = []

    async def before_start(new):
        told.extend(new)
        assert not second.runs
        assert "second" in host.adapters

    second = Flaky("second")
    await host.apply({"second": second}, removed=frozenset({"flaky"}), before_start=before_start)
    await until(lambda: second.runs)
    assert told == ["second"]
    assert list(host.adapters) == ["second"]
    await host.stop()


async def test_calls_are_counted_by_what_came_of_them():
    metrics = Metrics()
    flaky = Flaky()
    flaky.shown[ROOM] = {}
    host = AdapterHost({"flaky": flaky}, FakeClock(), metrics)
    held = host.adapters["flaky"]
    id_ = await held.send(ROOM, Outgoing("안녕"))
    await held.edit(ROOM, id_, Outgoing("안녕!"))

    async def slow_down(*_):
        raise RetryAfter(3.0)

    flaky.edit = slow_down
    with pytest.raises(RetryAfter):
        await held.edit(ROOM, id_, Outgoing("안녕!!"))
    name = "kogpt_bot_platform_calls_total"
    assert counted(metrics, name, adapter="flaky", call="send", outcome="ok") == 1
    assert counted(metrics, name, adapter="flaky", call="edit", outcome="ok") == 1
    assert counted(metrics, name, adapter="flaky", call="edit", outcome="RetryAfter") == 1


async def test_a_link_that_is_down_is_not_ready():
    flaky = Flaky()
    host = AdapterHost({"flaky": flaky}, FakeClock(), Metrics())
    host.start(RecordingInbox())
    flaky.link = Connection(False, "the gateway does not answer", 7)
    status = host.adapters["flaky"].status
    assert (status.ready, status.detail, status.reconnects) == (
        False,
        "the gateway does not answer",
        7,
    )
    await host.stop()
