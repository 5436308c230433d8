"""A generation process that stands still is seen within 30 s, killed, and started again."""

import asyncio
import os
import signal
import time

import psutil
import pytest

from kogpt_bot.generation.client import Completion
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.supervisor import GenerationSupervisor, State
from tests.fakes.checkpoints import TIED, make_checkpoint

SEEN_WITHIN_S = 30.0
KILLED_WITHIN_S = 3.0  # it is asked to end first


@pytest.mark.timeout(180)
async def test_stopped_it_is_seen_and_replaced(tmp_path):
    folder = make_checkpoint(tmp_path / "tiny", **TIED)
    supervisor = GenerationSupervisor(ServiceOptions(model=str(folder), device="cpu", threads=1))
    task = asyncio.create_task(supervisor.run())
    try:
        await supervisor.wait_ready(90)
        child = psutil.Process(supervisor.pid)
        os.kill(child.pid, signal.SIGSTOP)
        began = time.monotonic()
        async with asyncio.timeout(SEEN_WITHIN_S + KILLED_WITHIN_S):
            while not supervisor.restarts:
                await asyncio.sleep(0.02)
        print(f"seen and killed after {time.monotonic() - began:.1f} s")
        assert not child.is_running()
        assert supervisor.stuck == ""
        await supervisor.wait_ready(90)
        deltas = [d async for d in supervisor.client.stream(Completion("안녕", max_tokens=4))]
        assert deltas[-1].finish_reason
        assert supervisor.status.state is State.READY
    finally:
        await supervisor.stop()
        await task
