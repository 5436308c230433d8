"""Steps of a device that works by itself: text is told while it computes, and is the same text."""

import asyncio

import pytest

from kogpt_bot.generation import stepper as steps
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.model import GPTJ
from kogpt_bot.generation.request import FinishReason, SamplingParams
from tests.fakes.stepped import Stepped, greedy, prompt, reasons, request, spoil, text_of


def test_requests_of_every_kind_are_told_the_same(loaded, either_way):
    tokens, text = greedy(loaded, prompt(9))
    sampled = SamplingParams(seed=7, top_p=0.9, repetition_penalty=1.2, presence_penalty=0.5)
    requests = [
        request(prompt(9), stop=(text[9:12],), max_tokens=40),
        request(prompt(9), stop=(text[9:12],), max_tokens=40, include_stop=True, logprobs=1),
        request(prompt(5, 1), logprobs=2, echo=True),
        request(prompt(70, 2), params=sampled, max_tokens=20),  # read in three steps
        request(prompt(8, 3), max_tokens=1),
        request(prompt(8, 4), max_tokens=0, logprobs=0, echo=True),
        request(prompt(8, 5), max_tokens=0, echo=True),
        request(prompt(3, 6), stop=("never said",)),  # some text is held back to the end
    ]
    waited, alone = either_way(lambda: Stepped(loaded, requests, eos=None).run())
    assert alone == waited
    assert reasons(alone) == [FinishReason.STOP] * 2 + [FinishReason.LENGTH] * 6
    assert text_of(alone[0]) == text[: text.index(text[9:12])]
    assert all(len(events) > 1 for events in alone)
    assert tokens[: alone[0][-1].completion_tokens] == [
        token for each in alone[0] for token in each.token_ids
    ]


def test_the_end_token_ends_a_sequence_without_text(loaded, either_way):
    tokens, _ = greedy(loaded, prompt(9))
    at = next(n for n in range(3, 40) if tokens.index(tokens[n]) == n)
    requests = [
        request(prompt(9), max_tokens=40),
        request(prompt(9), max_tokens=at + 5, ignore_eos=True),
        request(prompt(4, 1)),
    ]
    waited, alone = either_way(lambda: Stepped(loaded, requests, eos=tokens[at]).run())
    assert alone == waited
    assert (alone[0][-1].finish_reason, alone[0][-1].completion_tokens) == ("stop", at + 1)
    assert (alone[1][-1].finish_reason, alone[1][-1].completion_tokens) == ("length", at + 5)


@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_request_that_is_cancelled_is_told_no_more(loaded, either_way, at):
    requests = [request(prompt(5 + n, n), logprobs=0) for n in range(3)]
    whole = Stepped(loaded, requests).run()

    def act():
        run = Stepped(loaded, requests)

        def cancel(step):
            if step == at:
                run.jobs[1].cancelled = True

        return run.run(cancel)

    for told in either_way(act):
        assert [told[0], told[2]] == [whole[0], whole[2]]
        assert told[1] == whole[1][: len(told[1])]
        assert at - 1 <= len(told[1]) <= at


def test_nothing_is_left_when_all_are_cancelled(loaded, either_way):
    def act():
        run = Stepped(loaded, [request(prompt(5)), request(prompt(6), stop=("x",))])

        def cancel(step):
            for job in run.jobs:
                job.cancelled = step == 3

        return run.run(cancel)

    waited, alone = either_way(act)
    for whole, told in zip(waited, alone, strict=True):
        assert len(whole) == 3
        assert told in (whole, whole[:2])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_text_of_a_step_is_told_while_the_next_is_computed(monkeypatch, loaded, asynchronous):
    monkeypatch.setattr(GPTJ, "asynchronous", asynchronous)
    log = []

    def asked(number, _segments, forward):
        log.append(("asked", number))
        return forward()

    def chosen(logits, states):
        log.append(("chosen", len(log)))
        return sample(logits, states)

    sample = steps.sample
    spoil(monkeypatch, loaded, asked)
    monkeypatch.setattr(steps, "sample", chosen)
    run = Stepped(loaded, [request(prompt(5), max_tokens=4)])
    run.stepper._tell = lambda events: log.extend(("told", len(e.token_ids)) for _, e in events)
    while run.stepper.step():
        pass
    told = [what for what, _ in log]
    if asynchronous:  # of the last token it is known that nothing follows
        later = ["asked", "told", "chosen"]
        assert told == ["asked", "chosen", *later, *later, *later, "told", "told"]
    else:
        assert told == ["asked", "chosen", "told"] * 4 + ["told"]
    assert [tokens for what, tokens in log if what == "told"] == [1, 1, 1, 1, 0]


async def test_streams_of_a_device_that_works_by_itself_are_the_same(monkeypatch, loaded):
    _, text = greedy(loaded, prompt(9))
    requests = [
        request(prompt(9), stop=(text[9:12],), max_tokens=40),
        request(prompt(40, 1), logprobs=2, echo=True),
        request(prompt(7, 2), params=SamplingParams(seed=3)),
        request(prompt(8, 3), max_tokens=0, echo=True, logprobs=0),
    ]
    wanted = Stepped(loaded, requests).run()
    monkeypatch.setattr(GPTJ, "asynchronous", True)
    engine = Engine(loaded, max_sequences=4, step_tokens=32, cache_tokens=1024)
    await engine.start()

    async def stream(asked):
        return [chunk async for chunk in engine.generate(asked)]

    async with asyncio.timeout(30):
        found = await asyncio.gather(*map(stream, requests))
    assert engine.stats().blocks_used == 0
    await engine.close()

    def whole(chunks):  # what comes while the reader is busy comes as one
        return "".join(c.text for c in chunks), [token for c in chunks for token in c.token_ids]

    assert [whole(each) for each in found] == [whole(each) for each in wanted]
    assert reasons(found) == reasons(wanted)


def test_the_blocks_of_a_cancelled_request_are_free_in_the_same_step(loaded, either_way):
    """One that waits for them is admitted, and computed, in that very step."""
    requests = [request(prompt(9, n), max_tokens=247) for n in range(5)]  # the whole context each

    def act():
        run = Stepped(loaded, requests)
        run.stepper.scheduler.max_running = 8  # so that it is the blocks that do not suffice
        for _ in range(3):
            run.stepper.step()
        gone, waiting = run.jobs[2], run.jobs[4]
        assert (waiting.lease, run.stepper.cache.free) == (None, 0)
        room = set(gone.lease.table)
        gone.cancelled = True
        run.stepper.step()
        assert gone.lease is None
        assert set(waiting.lease.table) == room
        assert waiting.generated == 1
        for job in run.jobs:
            job.cancelled = True
        run.stepper.step()
        return run.ended()

    waited, alone = either_way(act)
    assert len(waited[4]) == 1
    assert alone[4] in (waited[4], [])  # its text may not have been told yet
