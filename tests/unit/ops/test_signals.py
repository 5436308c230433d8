"""The process's signals."""

import asyncio
import os
import signal

from kogpt_bot.ops.signals import Signals


async def test_the_second_signal_hurries_and_a_hangup_reloads():
    loop = asyncio.get_running_loop()
    signals = Signals()
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(signals.reload.wait(), 5)
        assert not signals.stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.stop.wait(), 5)
        assert not signals.hurry.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(signals.hurry.wait(), 5)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
