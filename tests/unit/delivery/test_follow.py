"""What another process sets by command holds here too, a moment later."""

import asyncio
from datetime import UTC, datetime

from kogpt_bot.conversation.settings import SettingsLayers
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.follow import FOLLOW_S, Follower
from kogpt_bot.delivery.opt_outs import OptOuts
from kogpt_bot.messages import ChannelKey
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store import Store
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 1, 2, tzinfo=UTC)


async def test_settings_and_opt_outs_of_another_process_are_taken_over(database_url):
    store, other = [await Store.open(database_url) for _ in range(2)]
    names = Pseudonyms(b"k" * 32)
    book, people, clock = ChannelBook(SettingsLayers(), {}), OptOuts(store, names), FakeClock()
    following = asyncio.create_task(Follower(store, book, people, clock).run())
    await other.settings.set("web", "sampling.temperature", 0.9, by="u", at=NOW)
    await OptOuts(other, names).add(names.person("web", "u1"), NOW)
    room = ChannelKey("web", "room")
    async with asyncio.timeout(30):
        while not people.has("web", "u1"):
            await asyncio.sleep(0.01)
    assert book.effective(room).settings.sampling.temperature == 0.9
    assert clock.monotonic() >= 1000.0 + FOLLOW_S
    following.cancel()
    await asyncio.wait([following])
    for each in (store, other):
        await each.close()
