"""The bookkeeping under random arrivals, ends and cancels: no token is counted twice or lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kogpt_bot.errors import GenerationBusy
from kogpt_bot.generation.kv_cache import KVCachePool, common_prefix
from kogpt_bot.generation.request import GenerationRequest
from kogpt_bot.generation.scheduler import Scheduler, Sequence


def sequence(channel="a", prompt=4, priority=0, max_tokens=8):
    request = GenerationRequest(
        "r", tuple(range(prompt)), channel=channel, priority=priority, max_tokens=max_tokens
    )
    return Sequence(request)


def scheduler(**limits):
    return Scheduler(**({"max_running": 4, "step_tokens": 16, "max_waiting": 50} | limits))


def test_channels_take_turns():
    under_test = scheduler(max_running=3)
    busy = [sequence("busy") for _ in range(10)]
    quiet = sequence("quiet")
    for each in [*busy, quiet]:
        under_test.add(each)
    assert under_test.admit(lambda s: True) == [busy[0], quiet, busy[1]]


def test_a_higher_priority_goes_first():
    under_test = scheduler(max_running=2)
    low, high = sequence("a", priority=0), sequence("b", priority=2)
    under_test.add(low)
    under_test.add(high)
    assert under_test.admit(lambda s: True) == [high, low]


def test_a_large_request_is_not_starved_by_small_ones():
    under_test = scheduler()
    large, small = sequence("a", prompt=100), sequence("b", prompt=2)
    under_test.add(large)
    under_test.add(small)
    assert under_test.admit(lambda s: s.prompt_length < 50) == []
    assert under_test.waiting == 2


def test_too_many_waiting_is_said():
    under_test = scheduler(max_waiting=2)
    under_test.add(sequence())
    under_test.add(sequence("b"))
    with pytest.raises(GenerationBusy):
        under_test.add(sequence("c"))


def test_a_step_mixes_writing_and_reading_within_its_tokens():
    under_test = scheduler(max_running=8, step_tokens=16)
    writing = [sequence(str(n)) for n in range(3)]
    reading = [sequence(f"r{n}", prompt=30) for n in range(2)]
    for each in writing + reading:
        under_test.add(each)
    under_test.admit(lambda s: True)
    for each in writing:
        each.computed = 3
    plan = under_test.plan()
    assert [(s, n) for s, n in plan if s in writing] == [(s, 1) for s in writing]
    assert [(s, n) for s, n in plan if s in reading] == [(reading[0], 13)]


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 3), max_size=20))
def test_the_common_prefix_is_what_both_begin_with(one, other):
    count = common_prefix(one, other)
    assert one[:count] == other[:count]
    assert count == min(len(one), len(other)) or one[count] != other[count]


class Pool(RuleBasedStateMachine):
    """Arrivals, steps, ends and drops in any order."""

    def __init__(self):
        super().__init__()
        self.pool = KVCachePool(100)
        self.running = []
        self.made = set()
        self.gone = set()

    @rule(tokens=st.integers(1, 60), channel=st.sampled_from("abc"))
    def arrive(self, tokens, channel):
        if not self.pool.can_reserve(tokens):
            assert sum(slot.capacity for slot in self.running) + tokens > 100
            return
        slot = self.pool.reserve(channel, tokens)
        assert slot.id not in self.made
        self.made.add(slot.id)
        self.running.append(slot)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), count=st.integers(0, 9), token=st.integers(0, 1))
    def compute(self, data, count, token):
        slot = data.draw(st.sampled_from(self.running))
        room = slot.capacity - len(slot.tokens)
        slot.tokens.extend([token] * min(count, room))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), keep=st.booleans())
    def end(self, data, keep):
        slot = data.draw(st.sampled_from(self.running))
        self.running.remove(slot)
        self.pool.release(slot, keep=keep)

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=20))
    def ask_for_a_donor(self, prompt):
        found = self.pool.donor(prompt)
        if found:
            slot, shared = found
            assert 0 < shared < len(prompt)
            assert slot.tokens[:shared] == prompt[:shared]
            assert slot.id not in self.gone

    @rule()
    def memory_is_short(self):
        self.pool.drop_idle()

    @invariant()
    def nothing_leaks(self):
        dropped = set(self.pool.dropped)
        assert len(dropped) == len(self.pool.dropped)
        assert not dropped & self.gone
        self.gone |= dropped
        self.pool.dropped.clear()
        active = {slot.id for slot in self.running}
        idle = set(self.pool._idle)
        assert active | idle | self.gone == self.made
        assert not active & idle
        assert not (active | idle) & self.gone
        assert self.pool.active_tokens + self.pool.idle_tokens <= 100


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, deadline=None)
