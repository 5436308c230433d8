"""The detectors of channels: what reviews allowed is read now and then, and once for everybody."""

import asyncio

from kogpt_bot.conversation.settings import Profanity
from kogpt_bot.messages import ChannelKey
from kogpt_bot.moderation.detectors import REFRESH_S, Detectors
from kogpt_bot.store.profanity_values import Allowed
from tests.fakes.clock import FakeClock


class Table:
    """What reviews allowed; a reading takes a moment."""

    def __init__(self):
        self.rows = []
        self.readings = 0

    async def allowed(self):
        self.readings += 1
        await asyncio.sleep(0)
        return list(self.rows)


def asked(detectors, count):
    keys = [ChannelKey("fake", f"c{number}") for number in range(count)]
    return asyncio.gather(*(detectors.of(key, Profanity()) for key in keys))


async def test_a_burst_of_messages_reads_what_was_allowed_once():
    table, clock = Table(), FakeClock()
    detectors = Detectors(table, clock)
    await asked(detectors, 100)
    assert table.readings == 1
    await asked(detectors, 100)
    assert table.readings == 1
    await clock.sleep(REFRESH_S)
    table.rows = [Allowed("fake", "시발점")]
    first, *_ = await asked(detectors, 100)
    assert table.readings == 2
    assert first is await detectors.get(allow=["시발점"])
