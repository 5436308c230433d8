"""Steps that go wrong, on a device that is waited for and on one that works by itself."""

import itertools

import pytest
import torch

from kogpt_bot.errors import GenerationError, GenerationExpired
from kogpt_bot.generation import kv_store, replies
from kogpt_bot.generation import stepper as steps
from kogpt_bot.generation.kv_blocks import BLOCK, Move, Tier
from kogpt_bot.generation.request import Chunk, FinishReason, SamplingParams
from tests.fakes.stepped import (
    GREEDY,
    Stepped,
    prompt,
    reasons,
    request,
    spoil,
    stop_in_the_middle,
    text_of,
)


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
        assert (run.stepper.counters.generated, run.stepper.counters.prefilled) == (18, 18)
        return told

    assert either_way(act) == [whole, whole]


def test_short_memory_for_the_first_token_does_not_echo_the_prompt_twice(
    monkeypatch, loaded, either_way
):
    requests = [request(prompt(5), max_tokens=3, echo=True, logprobs=1)]
    whole = Stepped(loaded, requests).run()
    exact = replies.score

    def act():
        calls = itertools.count()

        def short(*given):
            if next(calls) == 1:  # after the prompt's
                raise torch.OutOfMemoryError("no memory")
            return exact(*given)

        with monkeypatch.context() as patch:
            patch.setattr(replies, "score", short)
            return Stepped(loaded, requests).run()

    assert either_way(act) == [whole, whole]


def test_a_prompt_that_is_not_finite_is_not_kept_though_nothing_is_to_be_written(
    monkeypatch, loaded
):
    asked = request(prompt(40), max_tokens=0, echo=True)
    with monkeypatch.context() as patch:
        spoil(patch, loaded, lambda *given: given[-1]() * float("nan"))
        run = Stepped(loaded, [asked])
        assert run.run() == [[(GenerationError, steps.NOT_FINITE)]]
    assert run.stepper.cache.idle == 0
