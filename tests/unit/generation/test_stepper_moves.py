"""Moves of blocks that fail: what the blocks and the host hold stays the text that it should be."""

import itertools

import pytest
import torch
from structlog.testing import capture_logs

from kogpt_bot.errors import GenerationError
from kogpt_bot.generation.job import Job
from kogpt_bot.generation.kv_cache import KVCache
from kogpt_bot.generation.replies import Replies
from kogpt_bot.generation.request import Chunk, GenerationRequest, SamplingParams
from kogpt_bot.generation.scheduler import Scheduler
from kogpt_bot.generation.stepper import Stepper
from tests.fakes.text_model import VOCABULARY, Syllables, TextModel, logits_of, text

GREEDY = SamplingParams(temperature=0, seed=0)


@pytest.fixture(autouse=True)
def silence():
    """Let no step that fails be logged with its traceback."""
    with capture_logs():
        yield


class Rig:
    """A stepper that answers one request at a time, and whose moves fail when they are told to."""

    def __init__(self):
        self.model = TextModel()
        self.told = []
        self.stepper = Stepper(
            self.model,
            KVCache(6, 12),
            Scheduler(max_running=4, step_tokens=200),
            Replies(Syllables(), None),
            self.told.extend,
        )

    def ask(self, prompt):
        """Return the last that is told, and the tokens of the answer."""
        request = GenerationRequest("r", tuple(prompt), params=GREEDY, max_tokens=6)
        job = Job.make(request, 0.0, VOCABULARY, Syllables())
        self.stepper.scheduler.add(job)
        while self.stepper.step():
            pass
        events = [event for to, event in self.told if to is job]
        return events[-1], tuple(t for e in events if isinstance(e, Chunk) for t in e.token_ids)

    def fail_move(self, number, error):
        moves = itertools.count()

        def before_move():
            if next(moves) == number:
                raise error

        self.model.store.before_move = before_move


def greedy(prompt):
    """Return the first tokens that follow a prompt."""
    whole = list(prompt)
    for _ in range(6):
        whole.append(int(logits_of(whole).argmax()))
    return tuple(whole[len(prompt) :])


def test_moves_are_not_done_again_when_one_after_them_fails():
    """What was done first has copied from blocks that others were moved to."""
    rig, first, second = Rig(), text(90, 1), text(90, 2)
    assert rig.ask(first)[1] == greedy(first)
    assert rig.ask(second)[1] == greedy(second)  # the first went to the host
    rig.fail_move(9, RuntimeError("a fault"))  # of five there and five back
    assert isinstance(rig.ask(first)[0], GenerationError)
    assert rig.ask(second)[1] == greedy(second)
    assert rig.ask(first)[1] == greedy(first)


def test_what_is_still_to_be_moved_is_not_given_back_when_memory_is_short():
    rig, first = Rig(), text(60, 1)
    rig.ask(first)
    other = first[:40] + text(5, 3)  # half a block is copied
    rig.fail_move(0, torch.OutOfMemoryError("no memory"))
    assert rig.ask(other)[1] == greedy(other)
    assert rig.model.faults == []
