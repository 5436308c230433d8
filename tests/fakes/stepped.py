"""An engine without a thread, whose steps a test takes one by one."""

import dataclasses
import itertools

import torch

from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.request import Chunk, GenerationRequest, SamplingParams

GREEDY = SamplingParams(temperature=0, seed=0)


def prompt(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(5, 600, (length,), generator=generator).tolist())


def request(ids, **fields):
    fields = {"params": GREEDY, "max_tokens": 12, "channel": str(ids)} | fields
    return GenerationRequest("r", ids, **fields)


class Stepped:
    """An engine without a thread: its steps are taken one by one, and what it tells is kept."""

    def __init__(self, loaded, requests, eos=None):
        info = dataclasses.replace(loaded.info, eos_token_id=eos)
        self._engine = Engine(
            dataclasses.replace(loaded, info=info),
            max_sequences=4, step_tokens=32, cache_tokens=1024,
        )  # fmt: skip
        self.stepper = self._engine._stepper
        self.told = []
        self.stepper._tell = self.told.extend
        self.jobs = [self._engine._job(each) for each in requests]
        for job in self.jobs:
            self.stepper.scheduler.add(job)

    def run(self, before=lambda _step: None):
        """Take steps until there is nothing to do; return what each request was told."""
        for number in itertools.count():
            before(number)
            if not self.stepper.step():
                break
        return self.ended()

    def ended(self):
        """Return what each request was told, after making sure that nothing is left."""
        assert self.stepper.cache.used == 0, "a block is still held"
        assert (self.stepper._written, self.stepper._events) == ([], [])
        return [self._of(job) for job in self.jobs]

    def _of(self, wanted):
        events = [event for job, event in self.told if job is wanted]
        return [each if isinstance(each, Chunk) else (type(each), str(each)) for each in events]


def text_of(events):
    return "".join(each.text for each in events if isinstance(each, Chunk))


def greedy(loaded, ids, count=40):
    """Return the tokens and the text that follow a prompt."""
    (events,) = Stepped(loaded, [request(ids, max_tokens=count)]).run()
    return [token for each in events for token in each.token_ids], text_of(events)


def reasons(told):
    return [events[-1].finish_reason for events in told]


def spoil(monkeypatch, loaded, how):
    """Let every forward pass go through `how`, which is told its number, its segments and what
    does it."""
    forward, numbers = loaded.model.forward, itertools.count()

    def spoilt(*given):
        return how(next(numbers), given[-1], lambda: forward(*given))

    monkeypatch.setattr(loaded.model, "forward", spoilt)


def stop_in_the_middle(loaded, ids):
    """Return a string with which the text of a prompt ends, and how many tokens that takes."""
    (events,) = Stepped(loaded, [request(ids, max_tokens=40)]).run()
    for count in range(5, 30):
        before, text = text_of(events[: count - 1]), text_of(events[:count])
        stop = text[len(before) - 1 :]
        if len(text) > len(before) and stop not in before:
            return stop, count
    raise AssertionError("no token of it gives text of its own")
