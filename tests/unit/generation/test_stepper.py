"""Steps of a device that works by itself: text is told while it computes, and is the same text."""

import asyncio
import dataclasses
import itertools

import pytest
import torch

from kogpt_bot.errors import GenerationError, GenerationExpired
from kogpt_bot.generation import kv_store, replies
from kogpt_bot.generation import stepper as steps
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.kv_blocks import BLOCK, Move, Tier
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.model import GPTJ
from kogpt_bot.generation.request import Chunk, FinishReason, GenerationRequest, SamplingParams

GREEDY = SamplingParams(temperature=0, seed=0)


@pytest.fixture(scope="module")
def weighted(checkpoints):
    return load(LoadOptions(model=str(checkpoints["tied"]), device="cpu", dtype="float32"))


@pytest.fixture
def loaded(weighted, monkeypatch):
    """Return a model whose logits depend on a token and its position alone: to the last bit the
    same in any company."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(997, weighted.info.vocab_size, generator=generator) * 3

    def forward(_store, tokens, positions, _slots, segments):
        rows = [
            each.row + each.length - each.want + n for each in segments for n in range(each.want)
        ]
        return table[(tokens[rows] * 31 + positions[rows] * 17) % len(table)]

    monkeypatch.setattr(weighted.model, "forward", forward)
    return weighted


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


@pytest.fixture
def either_way(monkeypatch):
    """Return a function that does something with a device that is waited for, and with one that
    works by itself; it returns what came of each."""

    def both(act):
        found = []
        for asynchronous in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(GPTJ, "asynchronous", asynchronous)
                found.append(act())
        return found

    return both


def text_of(events):
    return "".join(each.text for each in events if isinstance(each, Chunk))


def greedy(loaded, ids, count=40):
    """Return the tokens and the text that follow a prompt."""
    (events,) = Stepped(loaded, [request(ids, max_tokens=count)]).run()
    return [token for each in events for token in each.token_ids], text_of(events)


def reasons(told):
    return [events[-1].finish_reason for events in told]


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


def test_a_step_that_fails_fails_what_is_not_whole(monkeypatch, loaded, either_way):
    """The text of the last step makes one of the requests whole: it has ended."""
    stop, count = stop_in_the_middle(loaded, prompt(9))
    requests = [
        request(prompt(5, 1), max_tokens=40, logprobs=1),
        request(prompt(9), stop=(stop,), max_tokens=40),
        request(prompt(6, 2), max_tokens=40),
    ]

    def act():
        with monkeypatch.context() as patch:

            def fails(number, _segments, forward):
                if number == count:
                    raise RuntimeError("a fault in the kernel")
                return forward()

            spoil(patch, loaded, fails)
            return Stepped(loaded, requests).run()

    waited, alone = either_way(act)
    assert alone == waited
    failed = GenerationError, "the computation failed: a fault in the kernel"
    assert [alone[0][-1], alone[2][-1]] == [failed, failed]
    assert alone[1][-1].finish_reason is FinishReason.STOP
    assert [len(each) for each in alone] == [count + 1] * 3


@pytest.mark.parametrize("whole", range(4))
def test_a_step_without_memory_is_done_again_without_what_is_whole(
    monkeypatch, loaded, either_way, whole
):
    prompts = [prompt(5 + n, n) for n in range(4)]
    stop, count = stop_in_the_middle(loaded, prompts[whole])
    requests = [
        request(ids, max_tokens=count + 3, stop=(stop,) if n == whole else ())
        for n, ids in enumerate(prompts)
    ]

    def act():
        with monkeypatch.context() as patch:

            def short(number, _segments, forward):
                if number == count:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return forward()

            spoil(patch, loaded, short)
            return Stepped(loaded, requests).run()

    waited, alone = either_way(act)
    assert reasons(waited) == ["stop" if n == whole else "length" for n in range(4)]
    assert alone == waited


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("params", [GREEDY, SamplingParams(seed=1, top_k=30)], ids=["greedy", ""])
def test_a_row_that_is_not_finite_fails_alone(monkeypatch, loaded, either_way, params, value):
    requests = [request(prompt(5 + n, n), params=params) for n in range(3)]

    def act():
        with monkeypatch.context() as patch:

            def poisoned(_number, segments, forward):
                logits = forward().clone()
                for row, segment in enumerate(segments):
                    if segment.start == 6 + 4 and segment.length == 1 and segment.table[0] == sick:
                        logits[row, 17] = value
                return logits

            run = Stepped(loaded, requests)
            run.stepper.step()
            sick = run.jobs[1].lease.table[0]
            spoil(patch, loaded, poisoned)
            return run.run()

    waited, alone = either_way(act)
    assert alone == waited
    assert alone[1][-1] == (GenerationError, steps.NOT_FINITE)
    assert len(alone[1]) == 6  # five tokens, and the error
    assert [alone[n][-1].completion_tokens for n in (0, 2)] == [12, 12]


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


@pytest.mark.parametrize("how", ["late", "closed"])
def test_what_was_written_is_told_before_it_is_given_up(loaded, either_way, how):
    requests = [request(prompt(5 + n, n), deadline_s=60.0 if n == 1 else None) for n in range(3)]
    whole = Stepped(loaded, requests).run()

    def act():
        run = Stepped(loaded, requests)
        now = [0.0]
        run.stepper._clock = lambda: now[0]
        for job in run.jobs:
            job.arrived = 0.0
        for _ in range(4):
            run.stepper.step()
        if how == "closed":
            run.stepper.fail_all(GenerationError("the engine was closed"))
            return run.ended()
        now[0] = 61.0
        return run.run()

    waited, alone = either_way(act)
    assert waited[1][:-1] == whole[1][:4]
    assert alone == waited
    given_up = [n for n in range(3) if not isinstance(alone[n][-1], Chunk)]
    assert given_up == ([1] if how == "late" else [0, 1, 2])
    assert alone[1][-1][0] is (GenerationExpired if how == "late" else GenerationError)


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


def test_short_memory_for_a_score_loses_no_token_of_the_others(monkeypatch, loaded, either_way):
    requests = [request(prompt(5 + n, n), max_tokens=3 + n, logprobs=1) for n in range(3)]
    whole = Stepped(loaded, requests).run()
    calls = itertools.count()
    exact = replies.score

    def short(*given):
        if next(calls) == 4:  # of the second request, in the second step
            raise torch.OutOfMemoryError("no memory")
        return exact(*given)

    def act():
        nonlocal calls
        calls = itertools.count()
        with monkeypatch.context() as patch:
            patch.setattr(replies, "score", short)
            return Stepped(loaded, requests).run()

    waited, alone = either_way(act)
    for found in (waited, alone):
        for events, wanted in zip(found, whole, strict=True):
            assert text_of(events) == text_of(wanted)
            assert events[-1] == wanted[-1]


def short_of_memory_in_moves(patch, at):
    """Let the copy number `at` of all moves find no memory, once."""
    part, calls = kv_store._part, itertools.count()

    def short(*given):
        if next(calls) == at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return part(*given)

    patch.setattr(kv_store, "_part", short)


def test_moves_that_found_no_memory_are_each_made_once(monkeypatch, loaded, either_way):
    requests = [request(prompt(5 + n, n), max_tokens=3) for n in range(3)]
    whole = Stepped(loaded, requests).run()

    def act():
        run = Stepped(loaded, requests)
        layers = run.stepper._store.layers
        for block in (60, 61, 62):
            layers[-1].read(slice(None), block * BLOCK, BLOCK).fill_(block)
        run.stepper.cache.moves += [Move(Tier.WITHIN, 60, 61), Move(Tier.WITHIN, 62, 60)]
        with monkeypatch.context() as patch:
            short_of_memory_in_moves(patch, 4 * len(layers) - 1)  # the last of all
            told = run.run()
        found = [layers[-1].read(0, block * BLOCK, BLOCK).unique().tolist() for block in (60, 61)]
        assert found == [[62], [60]]
        return told

    assert either_way(act) == [whole, whole]


def test_a_block_in_which_a_move_begins_is_not_given_back(monkeypatch, loaded):
    """It may be idle, or free, by the time that memory is short."""
    run = Stepped(loaded, [request(prompt(40), max_tokens=1), request(prompt(9, 1))])
    late = run.jobs[1]
    run.stepper.scheduler.remove(late)
    run.run()
    cache, given_back = run.stepper.cache, []
    begin = next(iter(cache._roots[""].children.values())).block
    cache.moves.append(Move(Tier.WITHIN, begin, 60))
    monkeypatch.setattr(run.stepper._store, "release", given_back.extend)
    short_of_memory_in_moves(monkeypatch, 0)
    run.stepper.scheduler.add(late)
    assert reasons(run.run()) == ["length", "length"]
    assert cache.moves == []
    assert not [each for each in given_back if each[0] <= begin < sum(each)]


SHORT_OF = ["a score", "all, before a token is chosen", "all, after it"]


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("what", SHORT_OF)
def test_a_step_that_is_done_again_tells_and_draws_the_same(
    monkeypatch, loaded, either_way, what, step
):
    sampled = [SamplingParams(seed=n, top_p=0.95) for n in range(3)]
    requests = [
        request(prompt(5 + n, n), params=sampled[n], logprobs=1, echo=n != 2, max_tokens=6)
        for n in range(3)
    ]
    whole = Stepped(loaded, requests).run()
    exact_score, exact_sample = replies.score, steps.sample

    def act():
        begun, failed = [], []

        def fails():
            """Say once in the step that memory is short."""
            if len(begun) == step + 1 and not failed:
                failed.append(step)
                raise torch.OutOfMemoryError("no memory")

        def sample(*given):
            begun.append(what)
            if what == SHORT_OF[1]:
                fails()
            tokens = exact_sample(*given)
            if what == SHORT_OF[2]:
                fails()
            return tokens

        scores = itertools.count()

        def score(logits, tokens, width):
            # of the second request's token: a prompt is scored before anything is drawn
            if what == SHORT_OF[0] and len(begun) == step + 1 and next(scores) == 1:
                fails()
            return exact_score(logits, tokens, width)

        with monkeypatch.context() as patch:
            patch.setattr(replies, "score", score)
            patch.setattr(steps, "sample", sample)
            run = Stepped(loaded, requests)
            told = run.run()
        assert failed
        gaps = run.stepper.counters.token_gap.snapshot().buckets[-1][1]
        firsts = run.stepper.counters.first_token.snapshot().buckets[-1][1]
        assert (firsts, gaps) == (3, 15)
        return told

    assert either_way(act) == [whole, whole]


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
