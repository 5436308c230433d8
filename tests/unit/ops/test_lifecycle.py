"""Parts are stopped in reverse order, whatever one of them does."""

import asyncio

import pytest
from structlog.testing import capture_logs

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
        async with Lifecycle() as parts:
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
        async with Lifecycle() as parts:
            parts.run("breaks", breaks())
            parts.run("forever", forever())
            await reached.wait()
            await asyncio.sleep(0)
    assert [(each["event"], each["part"]) for each in logs] == [("part_failed", "breaks")]
    assert len(asyncio.all_tasks()) == 1
