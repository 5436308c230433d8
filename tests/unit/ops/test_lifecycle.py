"""Parts are stopped in reverse order, whatever one of them does."""

import asyncio

import pytest
from structlog.testing import capture_logs

from kogpt_bot.clock import SystemClock
from kogpt_bot.ops import lifecycle as module
from kogpt_bot.ops.lifecycle import Lifecycle


async def test_parts_stop_in_reverse_order_also_after_an_error():
    stopped = []

    async def stop(name):
        stopped.append(name)
        if name == "b":
            raise OSError("it broke")
        if name == "c":
            await asyncio.Event().wait()

    async def breaks():
        async with Lifecycle(SystemClock()) as parts:
            for name in "abcd":
                parts.started(name, lambda name=name: stop(name), patience_s=0.01)
            assert parts.parts == ["a", "b", "c", "d"]
            raise ValueError("the reason")

    with capture_logs() as logs, pytest.raises(ValueError, match="the reason"):
        await breaks()
    assert stopped == ["d", "c", "b", "a"]
    assert [(each["event"], each["part"]) for each in logs] == [
        ("part_stops_late", "c"),
        ("part_stop_failed", "b"),
    ]


async def test_a_task_that_fails_takes_nothing_with_it():
    reached = asyncio.Event()

    async def breaks():
        reached.set()
        raise OSError("it broke")

    async def forever():
        await asyncio.Event().wait()

    with capture_logs() as logs:
        async with Lifecycle(SystemClock()) as parts:
            parts.run("breaks", breaks())
            parts.run("forever", forever())
            await reached.wait()
            await asyncio.sleep(0)
    assert [(each["event"], each["part"]) for each in logs] == [("part_failed", "breaks")]
    assert len(asyncio.all_tasks()) == 1


async def test_all_together_have_a_time_too(monkeypatch):
    monkeypatch.setattr(module, "STOP_WITHIN_S", 0.05)
    monkeypatch.setattr(module, "LAST_PATIENCE_S", 0.01)
    stopped = []

    async def hangs(number):
        stopped.append(number)
        await asyncio.Event().wait()

    with capture_logs() as logs:
        async with asyncio.timeout(5), Lifecycle(SystemClock()) as parts:
            for number in range(4):
                parts.started(f"p{number}", lambda n=number: hangs(n), patience_s=100)
    assert stopped == [3, 2, 1, 0]
    assert len(logs) == 4
