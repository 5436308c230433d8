"""SIGTERM in the middle of generation: it ends in time, with status 0, and nothing is lost.

`KOGPT_BOT_STOPS` says how often (5).
"""

import asyncio
import os
import random
import signal
import time

import pytest

STOPS = int(os.environ.get("KOGPT_BOT_STOPS", "5"))
WITHIN_S = 25.0
HURRY_S = 10.0  # with a second signal: nothing is waited for, the parts just end
CHANNELS = 6
AT_ONCE = 12


async def ended_within(process, seconds):
    began = time.monotonic()
    assert await asyncio.wait_for(process.wait(), seconds) == 0
    return time.monotonic() - began


async def until(condition, timeout_s=30):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.timeout(60 + STOPS * 30)
async def test_a_stop_in_the_middle_loses_nothing(make_daemon, service, keyed, keyless):
    service.pace_s = 0.02  # half a second an answer
    draw, said, longest = random.Random(7), 0, 0.0
    daemon = make_daemon({"keyed": keyed, "keyless": keyless})

    def say(count):
        nonlocal said
        for _ in range(count):
            platform = (keyed, keyless)[said % 2]
            channel = f"c{draw.randrange(CHANNELS)}"
            platform.say(f"{said}번째 말이에요", channel=channel, author=f"u{said}")
            said += 1

    for _ in range(STOPS):
        await daemon.start()
        before = len(service.requests)
        say(AT_ONCE)
        wanted = before + draw.randint(1, AT_ONCE // 2)
        await until(lambda wanted=wanted: len(service.requests) >= wanted)
        await until(lambda: len(service.requests) > service.ended)  # in the middle of one
        daemon.process.send_signal(signal.SIGTERM)
        say(2)  # what comes now waits for the next start, wherever it lies
        longest = max(longest, await ended_within(daemon.process, WITHIN_S))
        await until(lambda: not keyed.connected.is_set() and not keyless.connected.is_set())
    await daemon.start()
    states = await daemon.until_ended(said)
    assert await daemon.terminate() == 0
    assert dict(states) == {"replied": said}
    for platform, name in ((keyed, "keyed"), (keyless, "keyless")):
        asked = {id_ for adapter, id_ in daemon.turns() if adapter == name}
        assert platform.answers() == dict.fromkeys(asked, 1)
        assert all(shown.final for shown in platform.shown.values())
    assert "Traceback" not in daemon.log.read_text()
    print(f"{STOPS} stops, {said} messages, {len(service.requests)} generations; {longest:.1f} s")


@pytest.mark.timeout(120)
async def test_a_model_that_does_not_end_holds_nobody_up(make_daemon, service, keyed):
    """Twice: the whole time that answers get, and then a second signal."""
    service.hang_at = 3
    daemon = make_daemon({"keyed": keyed})
    keyed.say("안녕", channel="c", author="u")
    for hurry in (False, True):
        await daemon.start()
        before = service.ended
        await until(lambda before=before: len(service.requests) > before)
        await asyncio.wait_for(service.started.wait(), 30)
        service.started.clear()
        daemon.process.send_signal(signal.SIGTERM)
        if hurry:
            await asyncio.sleep(0.3)  # two people, two presses
            daemon.process.send_signal(signal.SIGTERM)
        took = await ended_within(daemon.process, WITHIN_S)
        print(f"{'hurried' if hurry else 'not hurried'}: {took:.1f} s")
        assert not hurry or took < HURRY_S
        await until(lambda: not keyed.connected.is_set())
    service.hang_at = None
    await daemon.start()
    assert dict(await daemon.until_ended(1)) == {"replied": 1}
    assert await daemon.terminate() == 0
    assert list(keyed.answers().values()) == [1]
