"""The cache's bookkeeping: what is reused is right, nothing leaks, no block has two writers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kogpt_bot.generation.extents import Extents, runs
from kogpt_bot.generation.kv_blocks import BLOCK, Tier, common_prefix
from kogpt_bot.generation.kv_cache import KVCache
from kogpt_bot.generation.request import GenerationRequest
from kogpt_bot.generation.scheduler import Fit, Scheduler, Sequence
from kogpt_bot.generation.scores import Scores


def tokens(count, begin=0):
    return list(range(begin, begin + count))


def serve(cache, prompt, room=0, *, salt="", keep=True):
    """Admit, compute all of it, and release; return how much was in the cache already."""
    match = cache.match(prompt, salt)
    assert cache.can_admit(match, len(prompt) + room)
    lease = cache.admit(match, len(prompt) + room, salt)
    cache.release(lease, prompt, keep=keep)
    return match.tokens


def test_the_same_beginning_is_found_to_the_token():
    cache = KVCache(40)
    assert serve(cache, tokens(70)) == 0
    assert cache.match([*tokens(70), 999]).tokens == 70
    assert cache.match([*tokens(50), 999, 998]).tokens == 50
    assert cache.match(tokens(70)).tokens == 69  # the last one's logits are wanted
    assert cache.match([5, *tokens(70)]).tokens == 0


def test_a_history_that_grows_stays_one_path_and_one_run():
    cache = KVCache(200)
    history = tokens(30)
    for turn in range(8):
        match = cache.match(history)
        lease = cache.admit(match, len(history) + 40)
        assert match.tokens == (len(history) - 20 if turn else 0)
        assert len(runs(lease.table)) == 1
        history += tokens(20, 1000 * turn)
        cache.release(lease, history, keep=True)
        history += tokens(20, 5000 + turn)
    assert cache.used == 0
    assert cache.idle == (len(history) - 20) // BLOCK + 1


def test_channels_that_grow_in_turn_stay_one_run_each():
    cache = KVCache(400)
    histories = [tokens(30, 10_000 * n) for n in range(4)]
    for turn in range(6):
        leases = [cache.admit(cache.match(h), len(h) + 40) for h in histories]
        assert [len(runs(lease.table)) for lease in leases] == [1] * 4
        for lease, history in zip(leases, histories, strict=True):
            history.extend(tokens(20, 1000 * turn))
            cache.release(lease, history, keep=True)
            history.extend(tokens(20, 5000 + turn))


def test_two_channels_hold_the_blocks_of_their_persona_together():
    cache = KVCache(40)
    persona = tokens(64)
    serve(cache, persona)
    one = cache.admit(cache.match([*persona, 1, 2]), 80)
    two = cache.admit(cache.match([*persona, 3, 4]), 80)
    assert one.table[:4] == two.table[:4]
    assert not set(one.table[4:]) & set(two.table[4:])
    assert cache.shared == 4
    cache.release(one, [*persona, 1, 2], keep=True)
    assert cache.shared == 0
    cache.release(two, [*persona, 3, 4], keep=True)
    assert cache.match([*persona, 3, 4, 5]).tokens == 66


def test_tenants_share_nothing():
    cache = KVCache(40)
    serve(cache, tokens(64), salt="one")
    assert cache.match(tokens(64), "two").tokens == 0
    assert cache.match(tokens(64), "one").tokens == 63
    cache.drop_idle()
    assert not cache._roots


def test_the_least_recently_used_leaf_goes_first_and_a_shared_beginning_last():
    cache = KVCache(12)
    persona = tokens(32)
    for channel in (100, 200, 300):
        serve(cache, [*persona, *tokens(48, channel)])
    cache.match(persona)
    serve(cache, [*persona, *tokens(40, 100)])  # the oldest is used again
    serve(cache, tokens(16 * 3, 900))
    assert cache.match([*persona, *tokens(48, 100)]).tokens > 60
    assert cache.match([*persona, *tokens(48, 300)]).tokens > 60
    assert cache.match([*persona, *tokens(48, 200)]).tokens < 60
    assert cache.match([*persona, *tokens(48, 200)]).tokens >= 32
    assert cache.counts.evictions


def test_an_idle_channel_moves_to_the_host_and_comes_back():
    cache = KVCache(6, host_blocks=10)
    first, second = tokens(96), tokens(96, 1000)
    serve(cache, first)
    serve(cache, second)
    out = [move for move in cache.moves if move.tier is Tier.OUT]
    assert len(out) == 6
    assert cache.host_used == 6
    cache.moves.clear()
    match = cache.match(first)
    assert match.tokens == 95  # the last block is copied, for it is not wanted whole
    lease = cache.admit(match, 96)
    back = [move for move in cache.moves if move.tier is Tier.IN]
    assert [move.source for move in back] == [
        move.target for move in sorted(out, key=lambda m: m.source)
    ]
    assert [move.target for move in back] == lease.table
    assert [move.tokens for move in back] == [BLOCK] * 5 + [15]
    assert (cache.used, cache.idle) == (6, 0)
    cache.release(lease, first, keep=True)
    assert (cache.used, cache.idle) == (0, 6)
    assert cache.counts.moved_in == 5


def fresh(text, at, width):
    """The score of one token as a model would give it: it depends on all that precedes."""
    number = hash(tuple(text[:at])) % 1000
    ids = [number + rank for rank in range(width)]
    return Scores(width, [-number - text[at] / 8], ids, [-each / 4 for each in ids])


def score(cache, prompt, alternatives=1, salt=""):
    """Score a prompt as `serve` serves one; return how much need not be computed."""
    lease = cache.admit(cache.match(prompt, salt, alternatives), len(prompt), salt)
    for at in range(len(lease.scores), len(prompt)):
        lease.scores.extend(fresh(prompt, at, alternatives))
    cache.release(lease, prompt, keep=True)
    return lease.cached


def test_a_scored_prompt_takes_over_scores_and_computes_one_token_more():
    cache = KVCache(40)
    assert score(cache, tokens(70)) == 0
    for prompt, known in (
        ([*tokens(70), 999], 69),
        ([*tokens(50), 999, 998], 49),  # the score of 999 is that of the logits of the 50th
        (tokens(70), 69),
        (tokens(64), 63),
        ([*tokens(64), 999], 63),
        ([*tokens(65), 999], 63),  # a block is not begun for one token
        ([0, 999], 0),
        ([5, *tokens(70)], 0),
    ):
        match = cache.match(prompt, alternatives=1)
        assert match.tokens == known
        scores = match.scores()
        assert len(scores) == known + 1
        for at in range(1, known + 1):
            assert scores.logprobs[at] == fresh(prompt, at, 1).logprobs[0]


def test_what_was_read_without_scores_does_not_serve_a_scored_prompt_but_the_other_way_round():
    cache = KVCache(40)
    serve(cache, tokens(40))
    assert cache.match(tokens(40), alternatives=0).tokens == 0
    assert score(cache, tokens(40)) == 0
    assert cache.match([*tokens(40), 999]).tokens == 40
    assert cache.match([*tokens(40), 999], alternatives=1).tokens == 31  # one was there before
    assert cache.used == 0


def test_scores_with_fewer_alternatives_are_replaced_and_with_more_they_serve():
    cache = KVCache(40)
    score(cache, tokens(48), 1)
    assert cache.match(tokens(48), alternatives=3).tokens == 0
    bytes_before = cache.score_bytes
    score(cache, tokens(48), 3)
    assert cache.score_bytes == bytes_before + 48 * 2 * 8
    match = cache.match(tokens(48), alternatives=2)
    assert match.tokens == 47
    assert match.scores().top(40) == fresh(tokens(48), 40, 3).top(0)[:2]


def test_scores_go_with_their_blocks():
    cache = KVCache(6, host_blocks=3)
    for begin in range(0, 50_000, 1000):
        score(cache, tokens(96, begin), 20)
        assert 0 < cache.score_bytes <= (6 + 3) * BLOCK * (4 + 8 * 20)
    cache.drop_idle()
    assert cache.score_bytes == 0


def test_scores_come_back_from_the_host_with_their_blocks():
    cache = KVCache(6, host_blocks=10)
    score(cache, tokens(96))
    score(cache, tokens(96, 1000))
    assert cache.host_used == 6
    assert score(cache, tokens(96)) == 95


def test_the_host_has_its_own_limit():
    cache = KVCache(6, host_blocks=3)
    for begin in range(0, 50_000, 1000):
        serve(cache, tokens(96, begin))
    assert cache.host_used <= 3
    assert cache.free + cache.idle == 6


def test_what_a_failed_sequence_computed_is_not_reused_and_what_others_hold_stays():
    cache = KVCache(20)
    persona = tokens(32)
    other = cache.admit(cache.match(persona), 40)
    cache.advance(other, persona)
    failed = cache.admit(cache.match([*persona, *tokens(40, 70)]), 80)
    cache.advance(failed, [*persona, *tokens(40, 70)])
    cache.release(failed, [*persona, *tokens(40, 70)], keep=False)
    assert cache.match([*persona, *tokens(40, 70)]).tokens == 32
    cache.release(other, persona, keep=True)
    assert cache.used == 0


def test_a_root_goes_with_its_last_node():
    cache = KVCache(8)
    for salt in range(500):
        serve(cache, tokens(40), salt=str(salt))
    assert len(cache._roots) <= 8


def test_old_entries_of_the_order_do_not_pile_up():
    cache = KVCache(50)
    for turn in range(3000):
        serve(cache, [*tokens(33), turn])
    assert len(cache._leaves) <= 4 * 50 + 65


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 3), max_size=20))
def test_the_common_prefix_is_what_both_begin_with(one, other):
    count = common_prefix(one, other)
    assert one[:count] == other[:count]
    assert count == min(len(one), len(other)) or one[count] != other[count]


@given(st.data())
def test_numbers_are_free_or_taken_and_neighbours_merge(data):
    free, held = Extents(30), []
    for _ in range(data.draw(st.integers(0, 30))):
        if held and data.draw(st.booleans()):
            back = held.pop(data.draw(st.integers(0, len(held) - 1)))
            free.give(back)
        else:
            count = data.draw(st.integers(0, 8))
            if count > free.free:
                with pytest.raises(ValueError, match="wanted"):
                    free.take(count)
                continue
            after = data.draw(st.none() | st.integers(0, 29))
            held.append(free.take(count, after))
            assert len(held[-1]) == count
    taken = [each for numbers in held for each in numbers]
    assert len(taken) == len(set(taken)) == 30 - free.free
    left = [each for begin, length in free.runs() for each in range(begin, begin + length)]
    assert sorted(taken + left) == list(range(30))
    assert all(a + b < c for (a, b), (c, _) in zip(free.runs(), free.runs()[1:], strict=False))


class Machine(RuleBasedStateMachine):
    """Arrivals, steps, ends, cancels, failures and short memory in any order.

    The tensors are played by dictionaries of what lies where: block -> tokens by place.
    """

    BLOCKS, HOST = 12, 5

    def __init__(self):
        super().__init__()
        self.cache = KVCache(self.BLOCKS, self.HOST)
        self.scheduler = Scheduler(max_running=4, step_tokens=24, max_waiting=6)
        self.device = {n: {} for n in range(self.BLOCKS)}
        self.host = {n: {} for n in range(self.HOST)}

    def match(self, sequence):
        asked = sequence.request
        return self.cache.match(asked.prompt_ids, asked.cache_salt, sequence.alternatives)

    def fit(self, sequence):
        match = self.match(sequence)
        return Fit.YES if self.cache.can_admit(match, sequence.reserve) else Fit.NO

    def score(self, sequence):
        """Score what follows the tokens that are computed."""
        if (scores := sequence.lease.scores) is not None:
            end = min(sequence.computed + 1, sequence.prompt_length)
            for at in range(len(scores), end):
                scores.extend(fresh(sequence.tokens, at, scores.width))

    def carry_out(self):
        for move in self.cache.moves:
            source = (self.host if move.tier is Tier.IN else self.device)[move.source]
            target = (self.host if move.tier is Tier.OUT else self.device)[move.target]
            copied = {place: source[place] for place in range(move.tokens)}
            target.clear()
            target.update(copied)
        self.cache.moves.clear()

    def end(self, sequence, keep):
        self.scheduler.remove(sequence)
        if sequence.lease is not None:
            computed = sequence.tokens[: sequence.computed]
            self.cache.release(sequence.lease, computed, keep=keep)

    @rule(
        begin=st.sampled_from([0, 0, 0, 100]),
        shared=st.integers(0, 60),
        own=st.integers(1, 40),
        kind=st.integers(0, 2),
        more=st.integers(0, 30),
        priority=st.integers(0, 1),
        salt=st.sampled_from(["", "", "", "x"]),
        alternatives=st.sampled_from([None, None, 0, 1, 3]),
    )
    def arrive(self, begin, shared, own, kind, more, priority, salt, alternatives):
        if self.scheduler.waiting == 6:
            return
        prompt = (*tokens(shared, begin), *tokens(own, 1000 * (kind + 1)))
        self.scheduler.add(
            Sequence(
                GenerationRequest(
                    "r", prompt, max_tokens=more, channel=str(kind), priority=priority,
                    cache_salt=salt, echo=alternatives is not None, logprobs=alternatives,
                )
            )
        )  # fmt: skip

    @rule(fails=st.sampled_from([False, False, False, True]))
    def step(self, fails):
        for each in self.scheduler.admit(self.fit):
            match = self.match(each)
            each.hold(self.cache.admit(match, each.reserve, each.request.cache_salt))
        plan = self.scheduler.plan()
        self.carry_out()
        writers = [n for s, _ in plan for n in s.lease.table[s.computed // BLOCK :]]
        assert len(writers) == len(set(writers))
        for each, count in plan:
            for at in range(each.computed):  # what it will look at is its own text
                lies = self.device[each.lease.table[at // BLOCK]]
                assert lies[at % BLOCK] == each.tokens[at]
            for at in range(each.computed, each.computed + count):
                self.device[each.lease.table[at // BLOCK]][at % BLOCK] = each.tokens[at]
        for each, count in plan:
            if fails:
                self.end(each, keep=False)
                continue
            each.computed += count
            self.score(each)
            self.cache.advance(each.lease, each.tokens[: each.computed])
            if not each.pending:
                self.check_scores(each.tokens, each.lease.scores, each.prompt_length)
                if each.generated < each.request.max_tokens:
                    each.tokens.append(7 + each.generated % 3)
                else:
                    self.end(each, keep=True)

    def check_scores(self, text, scores, count):
        """What was taken over is what would have been computed."""
        if scores is None:
            return
        assert len(scores) == count
        for at in range(1, count):
            own = fresh(text, at, scores.width)
            assert (scores.logprobs[at], scores.top(at)) == (own.logprobs[0], own.top(0))

    @precondition(lambda self: self.scheduler.running)
    @rule(data=st.data())
    def cancel(self, data):
        self.end(data.draw(st.sampled_from(self.scheduler.running)), keep=True)

    @rule()
    def memory_is_short(self):
        self.cache.drop_idle()
        assert self.cache.idle == self.cache.host_used == 0

    @invariant()
    def nothing_leaks(self):
        nodes, stack = [], [(root, ()) for root in self.cache._roots.values()]
        while stack:
            node, before = stack.pop()
            text = before + node.tokens
            stack += [(child, text) for child in node.children.values()]
            if node.parent is not None:
                nodes.append(node)
                if (scores := node.scores) is not None:
                    assert len(scores) <= len(node.tokens)
                    for at in range(not before, len(scores)):
                        own = fresh(text, len(before) + at, scores.width)
                        assert (scores.logprobs[at], scores.top(at)) == (
                            own.logprobs[0], own.top(0),
                        )  # fmt: skip
                assert (node.block is None) != (node.host is None)
                assert node.on_device == sum(c.block is not None for c in node.children.values())
                assert node.block is not None or not node.on_device
        blocks = [node.block for node in nodes if node.block is not None]
        hosts = [node.host for node in nodes if node.host is not None]
        leases = [s.lease for s in self.scheduler.running]
        private = [
            b for lease in leases for b in lease.table if b not in {n.block for n in lease.path}
        ]
        held = [n for lease in leases for n in lease.path]
        free = [n for begin, length in self.cache.free_runs() for n in range(begin, begin + length)]
        assert sorted(blocks + private + free) == list(range(self.BLOCKS))
        assert len(hosts) == len(set(hosts)) == self.cache.host_used
        for node in nodes:
            assert node.refs == held.count(node)
        assert self.cache.idle == sum(n.refs == 0 and n.block is not None for n in nodes)
        assert self.cache.shared == sum(n.refs > 1 for n in nodes)
        assert self.cache.score_bytes == sum(n.scores.size for n in nodes if n.scores)
        assert self.cache.used + self.cache.idle + self.cache.free == self.BLOCKS

    def teardown(self):
        for each in self.scheduler.expired(float("inf")):
            self.end(each, keep=True)
        self.cache.drop_idle()
        assert self.cache.free == self.BLOCKS
        assert not self.cache._roots
        assert self.cache.score_bytes == 0


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
