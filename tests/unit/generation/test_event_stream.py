"""Events on their way to a reader, who takes them less often than they come."""

import asyncio
import math

import pytest

from kogpt_bot.errors import GenerationError
from kogpt_bot.generation.event_stream import EventStream
from kogpt_bot.generation.request import Chunk, FinishReason, TokenLogprob

END = Chunk(
    "!", (9,), finish_reason=FinishReason.STOP, prompt_tokens=3, completion_tokens=4, seed=5
)


def a(text):
    return Chunk(text, (1,), (TokenLogprob(1, text, -0.5),))


@pytest.fixture
async def time(monkeypatch):
    """Let the loop's time stand still; return what moves it: a number of seconds."""
    now = [1000.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])

    def pass_(seconds):
        now[0] += seconds

    return pass_


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, 5)


async def settle():
    """Let all that can be done without time passing be done."""
    for _ in range(5):
        await asyncio.sleep(0)


async def at_once(events):
    """Take what can be taken without time passing; fail where there is nothing."""
    reader = asyncio.create_task(events.take())
    await settle()
    return reader.result()


async def test_without_an_interval_each_event_is_told_as_it_comes():
    events = EventStream()
    for text in "abc":
        reader = asyncio.create_task(events.take())
        await asyncio.sleep(0)
        events.put(a(text))
        assert await soon(reader) == a(text)


async def test_what_came_while_nobody_read_is_joined_to_the_end():
    events = EventStream()
    for each in (a("가"), Chunk("", (2,)), a("나"), END):
        events.put(each)
    found = await soon(events.take())
    assert found.text == "가나!"
    assert found.token_ids == (1, 2, 1, 9)
    assert [each.token for each in found.logprobs] == ["가", "나"]
    assert found.finish_reason is FinishReason.STOP
    assert (found.prompt_tokens, found.completion_tokens, found.seed) == (3, 4, 5)


async def test_the_first_text_is_told_at_once_and_the_next_when_it_is_time(time):
    events = EventStream(0.5)
    events.put(Chunk("", (1,)))  # part of a character: nothing to read yet
    assert (await at_once(events)).text == ""
    events.put(a("a"))
    assert (await at_once(events)).text == "a"
    reader = asyncio.create_task(events.take())
    for text in "bcd":
        time(0.125)
        await settle()
        events.put(a(text))
    await settle()
    assert not reader.done()
    time(0.125)
    await settle()
    assert reader.result().text == "bcd"


async def test_a_reader_that_was_away_longer_than_the_interval_is_told_at_once(time):
    events = EventStream(0.5)
    events.put(a("a"))
    await at_once(events)
    time(0.75)
    reader = asyncio.create_task(events.take())
    await settle()
    assert not reader.done()  # it waits for an event now, not for the time
    events.put(a("b"))
    await settle()
    assert reader.result().text == "b"


async def test_a_reader_that_waited_for_longer_than_the_interval_is_told_at_once(time):
    events = EventStream(0.5)
    events.put(a("a"))
    await at_once(events)
    reader = asyncio.create_task(events.take())
    await settle()
    time(0.75)
    await settle()
    assert not reader.done()
    events.put(a("b"))
    await settle()
    assert reader.result().text == "b"


async def test_the_end_is_not_kept_waiting():
    events = EventStream(math.inf)
    events.put(a("a"))
    assert (await soon(events.take())).text == "a"
    reader = asyncio.create_task(events.take())
    await asyncio.sleep(0)
    events.put(a("b"))
    await settle()
    assert not reader.done()
    events.put(END)
    assert (await soon(reader)).text == "b!"


async def test_an_error_is_raised_after_what_came_before_it():
    events = EventStream(math.inf)
    events.put(a("a"))
    await soon(events.take())
    events.put(a("b"))
    events.put(GenerationError("broken"))
    assert (await soon(events.take())).text == "b"
    for _ in range(2):
        with pytest.raises(GenerationError, match="broken"):
            await soon(events.take())


async def test_a_reader_that_gave_up_leaves_the_stream_whole():
    events = EventStream(math.inf)
    events.put(a("a"))
    await soon(events.take())
    reader = asyncio.create_task(events.take())
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    events.put(END)
    assert (await soon(events.take())).text == "!"
