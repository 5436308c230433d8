"""What runs next: turns, priorities, deadlines, and the tokens of a step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.errors import GenerationBusy
from kogpt_bot.generation.request import GenerationRequest
from kogpt_bot.generation.scheduler import Fit, Scheduler, Sequence


def sequence(channel="a", prompt=4, priority=0, max_tokens=8, arrived=0.0, deadline=None):
    request = GenerationRequest(
        "r",
        tuple(range(prompt)),
        channel=channel,
        priority=priority,
        max_tokens=max_tokens,
        deadline_s=deadline,
    )
    return Sequence(request, arrived)


def scheduler(**limits):
    return Scheduler(**({"max_running": 4, "step_tokens": 16, "max_waiting": 50} | limits))


def admit(under_test, fits=lambda s: Fit.YES):
    return list(under_test.admit(fits))


def test_channels_take_turns():
    under_test = scheduler(max_running=3)
    busy = [sequence("busy") for _ in range(10)]
    quiet = sequence("quiet")
    for each in [*busy, quiet]:
        under_test.add(each)
    assert admit(under_test) == [busy[0], quiet, busy[1]]


def test_a_higher_priority_goes_first():
    under_test = scheduler(max_running=2)
    low, high = sequence("a", priority=0), sequence("b", priority=2)
    under_test.add(low)
    under_test.add(high)
    assert admit(under_test) == [high, low]


def test_a_large_request_is_not_starved_by_small_ones():
    under_test = scheduler()
    large, small = sequence("a", prompt=100), sequence("b", prompt=2)
    under_test.add(large)
    under_test.add(small)
    assert admit(under_test, lambda s: Fit.YES if s.prompt_length < 50 else Fit.NO) == []
    assert under_test.waiting == 2


def test_what_shall_run_a_little_later_is_overtaken():
    under_test = scheduler()
    later, other = sequence("a", prompt=10), sequence("b", prompt=2)
    behind = sequence("a", prompt=2)
    for each in (later, behind, other):
        under_test.add(each)
    fits = lambda s: Fit.LATER if s is later else Fit.YES  # noqa: E731
    assert admit(under_test, fits) == [other]
    assert admit(under_test) == [later, behind]


def test_too_many_waiting_is_said():
    under_test = scheduler(max_waiting=2)
    under_test.add(sequence())
    under_test.add(sequence("b"))
    with pytest.raises(GenerationBusy) as busy:
        under_test.add(sequence("c"), retry_s=7)
    assert busy.value.seconds == 7


def test_deadlines_are_those_of_waiting_and_running():
    under_test = scheduler(max_running=1)
    running = sequence("a", arrived=10, deadline=5)
    waiting = sequence("b", arrived=11, deadline=5)
    patient = sequence("c", arrived=0)
    for each in (running, waiting, patient):
        under_test.add(each)
    assert admit(under_test) == [running]
    assert under_test.expired(14.9) == []
    assert under_test.expired(15) == [running]
    assert under_test.expired(16) == [running, waiting]


def test_a_step_mixes_writing_and_reading_within_its_tokens():
    under_test = scheduler(max_running=8, step_tokens=16)
    writing = [sequence(str(n)) for n in range(3)]
    reading = [sequence(f"r{n}", prompt=30) for n in range(2)]
    for each in writing + reading:
        under_test.add(each)
    admit(under_test)
    for each in writing:
        each.computed = 3
    plan = under_test.plan()
    assert [(s, n) for s, n in plan if s in writing] == [(s, 1) for s in writing]
    assert [(s, n) for s, n in plan if s in reading] == [(reading[0], 13)]


def test_prompts_are_read_however_many_write():
    under_test = scheduler(max_running=17, step_tokens=16)
    writing, reading = [sequence(str(n)) for n in range(16)], sequence("r", prompt=30)
    for each in [*writing, reading]:
        under_test.add(each)
    admit(under_test)
    for each in writing:
        each.computed = 3
    assert dict(under_test.plan()) == dict.fromkeys(writing, 1) | {reading: 8}


def test_a_next_turn_does_not_wait_behind_a_long_history():
    under_test = scheduler(step_tokens=16)
    long, turn, second = sequence("a", 100), sequence("b", 5), sequence("c", 6)
    for each in (long, turn, second):
        under_test.add(each)
    admit(under_test)
    assert dict(under_test.plan()) == {turn: 5, long: 11}


def test_a_direct_message_is_read_before_an_interjection():
    under_test = scheduler(step_tokens=16)
    interjection, direct = sequence("a", 100, priority=0), sequence("b", 90, priority=1)
    under_test.add(interjection)
    admit(under_test)
    under_test.add(direct)
    admit(under_test)
    assert under_test.plan() == [(direct, 16)]


@given(prompts=st.lists(st.integers(1, 60), min_size=1, max_size=8), budget=st.integers(1, 40))
def test_every_step_is_within_its_tokens_and_all_is_read_in_the_end(prompts, budget):
    under_test = scheduler(max_running=8, step_tokens=budget)
    for number, length in enumerate(prompts):
        under_test.add(sequence(str(number), length))
    admit(under_test)
    for _ in range(sum(prompts) + 1):
        plan = under_test.plan()
        writing = sum(s.pending == 1 for s in under_test.running)
        assert sum(count for _, count in plan) <= max(budget, writing + max(budget // 2, 1))
        for each, count in plan:
            assert 1 <= count <= each.pending
            each.computed += count
            if not each.pending:
                under_test.remove(each)
    assert not under_test.running
