"""The stepper, the scheduler and the cache together, with a model that reads what the blocks hold.

hypothesis drives them through arrivals, cancels, deadlines, failures and short memory in any order.
"""

import collections
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationOutOfMemory,
)
from kogpt_bot.generation import stepper as steps
from kogpt_bot.generation.job import Job
from kogpt_bot.generation.kv_blocks import BLOCK
from kogpt_bot.generation.kv_cache import KVCache
from kogpt_bot.generation.penalties import SamplingState
from kogpt_bot.generation.replies import Replies
from kogpt_bot.generation.request import Chunk, FinishReason, GenerationRequest, SamplingParams
from kogpt_bot.generation.sampling import sample
from kogpt_bot.generation.scheduler import Fit, Scheduler
from tests.fakes.text_model import END, FIRST, VOCABULARY, Syllables, TextModel, logits_of, text

BLOCKS = 12
CONTEXT = 8 * BLOCK
WAITING = 5
STOP = 7  # the token of the syllable that some requests stop at
PARAMS = [
    *[SamplingParams(temperature=0, seed=0)] * 4,
    SamplingParams(seed=1, top_p=0.9),
    SamplingParams(seed=2, top_k=9, repetition_penalty=1.3, frequency_penalty=0.5),
]
FAULT, NO_MEMORY, NAN, CLOSED = "a fault", "no memory", "not finite", "the engine was closed"
LATE = "no memory for a choice"  # when the pass is done, and some of its tokens are chosen
MOVE, SHORT_MOVE = "a move", "a move without memory"
# What befalls a step: its passes (or moves, or choices), one after the other.
BEFALLS = [
    (FAULT,), (NO_MEMORY,), (NO_MEMORY, NO_MEMORY), (NO_MEMORY, FAULT), (NAN,), (LATE,), (LATE,),
    (MOVE,), (SHORT_MOVE,), (SHORT_MOVE, NO_MEMORY), (SHORT_MOVE, SHORT_MOVE),
]  # fmt: skip
PERSONAS = [text(80, 1), text(80, 2)]

FIELDS = st.fixed_dictionaries(
    {
        "params": st.sampled_from(PARAMS),
        "stop": st.sampled_from([(), (chr(FIRST + STOP),)]),
        "logprobs": st.sampled_from([None, None, 0, 2]),
        "echo": st.booleans(),
        "channel": st.sampled_from("abc"),
        "priority": st.integers(0, 1),
        "cache_salt": st.sampled_from(["", "", "", "x"]),
        "deadline_s": st.sampled_from([None, None, 4.0]),
    }
)
WANTED = [
    Fit.NO, Fit.LATER, "busy", "shared", "evictions", "moved in", "answered", NAN,
    (FAULT, "at first"), (FAULT, "again"), (NO_MEMORY, "at first"), (NO_MEMORY, "again"),
    (LATE, "at first"), (MOVE, "at first"), (SHORT_MOVE, "at first"),
    ("cancelled", "running"), ("cancelled", "waiting"), ("expired", "running"),
    ("expired", "waiting"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def silence():
    """Let no step that fails be logged with its traceback."""
    with capture_logs():
        yield


class Alone:
    """What a request is answered when nothing else is there."""

    def __init__(self, request):
        prompt, self.reason = list(request.prompt_ids), FinishReason.LENGTH
        state = SamplingState(request.params, VOCABULARY, prompt)
        whole, end = list(prompt), len(prompt) + request.max_tokens
        while len(whole) < end and self.reason is FinishReason.LENGTH:
            (token,) = sample(logits_of(whole).unsqueeze(0), [state])
            state.add(token)
            whole.append(token)
            if token == END or (token == STOP and request.stop):
                self.reason = FinishReason.STOP
        self.generated = whole[len(prompt) :]
        begin = 0 if request.echo else len(prompt)
        self.tokens = tuple(whole[begin:])
        self.logprobs = []
        if request.logprobs is not None:
            self.logprobs = [
                float(logits_of(whole[:at]).log_softmax(-1)[whole[at]]) if at else None
                for at in range(begin, len(whole))
            ]
        said = self.generated[: -1 if self.reason is FinishReason.STOP else None]
        self.text = Syllables().decode(prompt[begin:] + said)


class Machine:
    """A stepper to which everything happens that can, in the order of `data`. It counts what came
    to pass in `seen`."""

    def __init__(self, data, seen):
        self.data, self.seen = data, seen
        self.now = 0.0
        self.jobs = {}  # job -> what it is answered alone
        self.checked = collections.defaultdict(lambda: (0, 0, 0))  # tokens, characters, scores
        self.last = {}  # job -> what it was told last
        self.cancelled, self.given_up = set(), False
        self.may_fail = set()  # because of what befell a step that they were in
        self.coming, self.spared, self.tried = [], 0, False
        self.model = TextModel(asynchronous=data.draw(st.booleans()))
        self.model.before, self.model.after = self.before_pass, self.after_pass
        self.stepper = steps.Stepper(
            self.model,
            KVCache(BLOCKS, data.draw(st.sampled_from([0, 12, 12]))),
            Scheduler(max_running=4, step_tokens=24, max_waiting=WAITING),
            self.replies(),
            self.tell,
            lambda: self.now,
        )
        self.cache, self.scheduler = self.stepper.cache, self.stepper.scheduler
        self.model.store.before_move = self.before_move
        fit = self.stepper._fit

        def watched(sequence):
            self.seen[found := fit(sequence)] += 1
            return found

        self.stepper._fit = watched

    def replies(self):
        """Return replies whose choices may find no memory."""
        replies = Replies(Syllables(), END)
        append = replies.append

        def short(job, token, logits):
            # A draw that is done again takes another number: here all are greedy.
            greedy = all(s.request.params.temperature == 0 for s in self.scheduler.running)
            if greedy:
                self.befall((LATE,))
            return append(job, token, logits)

        replies.append = short
        return replies

    # --- what it does, and what befalls it ------------------------------------------------------

    def tell(self, events):
        for job, event in events:
            assert self.given_up or job not in self.cancelled, "told after it was cancelled"
            assert not self.ended(job), "told after its end"
            self.last[job] = event
            if isinstance(event, Chunk):
                self.check_answer(job, event)
            else:
                self.check_error(job, event)

    def ended(self, job):
        last = self.last.get(job, Chunk())
        return not isinstance(last, Chunk) or last.finish_reason is not None

    def check_answer(self, job, chunk):
        """Check a piece, and where it is the last one that nothing is missing."""
        alone, (tokens, letters, scores) = self.jobs[job], self.checked[job]
        ends = (
            tokens + len(chunk.token_ids),
            letters + len(chunk.text),
            scores + len(chunk.logprobs),
        )
        assert chunk.token_ids == alone.tokens[tokens : ends[0]]
        assert chunk.text == alone.text[letters : ends[1]]
        for found, wanted in zip(chunk.logprobs, alone.logprobs[scores:], strict=False):
            assert found.logprob == wanted or math.isclose(found.logprob, wanted, abs_tol=1e-4)
        self.checked[job] = ends
        if chunk.finish_reason is not None:
            assert ends == (len(alone.tokens), len(alone.text), len(alone.logprobs))
            assert chunk.finish_reason is alone.reason
            assert chunk.prompt_tokens == len(job.request.prompt_ids)
            assert chunk.completion_tokens == len(alone.generated)

    def check_error(self, job, error):
        if isinstance(error, GenerationExpired):
            assert job.deadline <= self.now
            self.seen["expired", "running" if job.computed else "waiting"] += 1
        elif str(error) != CLOSED:
            assert job in self.may_fail
            short = isinstance(error, GenerationOutOfMemory)
            assert short or FAULT in str(error) or str(error) == steps.NOT_FINITE

    def before_pass(self, segments):
        held = collections.Counter(n for s in self.scheduler.running for n in s.lease.table)
        free = {n for begin, length in self.cache.free_runs() for n in range(begin, begin + length)}
        for each in segments:
            written = each.table[each.start // BLOCK : -(-each.end // BLOCK)]
            if any(held[block] != 1 or block in free for block in written):
                self.model.faults.append("a block has two writers, or a reader beside its writer")
        self.befall((FAULT, NO_MEMORY), segments)

    def after_pass(self, segments, logits):
        if self.coming == [NAN] and len(logits):
            sick = [each for each in segments if each.want][-1]
            self.seen[self.coming.pop()] += 1
            self.may_fail.update(s for s in self.scheduler.running if s.lease.table is sick.table)
            logits[-1, 3] = math.nan
            for at in range(sick.start, sick.end):  # nor is what it keeps of use to anybody
                self.model.store.device[sick.table[at // BLOCK]][at % BLOCK] = None

    def before_move(self):
        self.befall((MOVE, SHORT_MOVE))

    def befall(self, whats, segments=()):
        """Raise what comes next if it is one of these. What is in this pass may fail by it, unless
        it is tried again."""
        if not self.coming or self.coming[0] not in whats:
            return
        if self.spared:
            self.spared -= 1
            return
        what, again = self.coming.pop(0), self.tried
        self.tried = True
        self.seen[what, "again" if again else "at first"] += 1
        if what in (FAULT, MOVE) or again:
            tables = [each.table for each in segments]
            for each in self.scheduler.running:
                if not tables or any(each.lease.table is table for table in tables):
                    self.may_fail.add(each)
        raise RuntimeError(FAULT) if what in (FAULT, MOVE) else torch.OutOfMemoryError(what)

    # --- what may happen ------------------------------------------------------------------------

    def a_request_comes(self):
        persona = self.data.draw(st.sampled_from(PERSONAS))
        shared = self.data.draw(st.sampled_from([0, 20, 33, 50, 64]))
        own = text(self.data.draw(st.integers(1, 20)), self.data.draw(st.integers(10, 12)))
        self.ask(persona[:shared] + own)

    def a_next_turn_comes(self):
        said = [[*j.request.prompt_ids, *self.jobs[j].generated] for j in self.jobs]
        own = text(self.data.draw(st.integers(1, 6)), 20)
        if said := [each for each in said if len(each) + len(own) < CONTEXT]:
            self.ask(self.data.draw(st.sampled_from(said)) + own)

    def ask(self, prompt):
        fields, more = self.data.draw(FIELDS), self.data.draw(st.integers(0, 20))
        more = min(max(more, not fields["echo"]), CONTEXT - len(prompt))
        request = GenerationRequest("r", tuple(prompt), max_tokens=more, **fields)
        job = Job.make(request, self.now, VOCABULARY, Syllables())
        if self.scheduler.waiting == WAITING:
            with pytest.raises(GenerationBusy):
                self.scheduler.add(job)
            self.seen["busy"] += 1
        else:
            self.scheduler.add(job)
            self.jobs[job] = Alone(request)

    def some_steps_are_taken(self):
        for _ in range(self.data.draw(st.integers(1, 6))):
            self.step()

    def a_step_goes_wrong(self):
        """The next step that can do so; few move anything."""
        befalls = self.data.draw(st.sampled_from(BEFALLS))
        self.coming, self.spared = list(befalls), self.data.draw(st.integers(0, 2))
        for _ in range(8):
            self.step()
            if len(self.coming) < len(befalls):
                break
        self.coming, self.spared = [], 0

    def step(self):
        self.tried = False
        self.stepper.step()
        assert self.model.faults == []
        assert not any(job.deadline <= self.now for job in self.live())
        self.check_blocks()

    def live(self):
        return [job for job in self.jobs if not self.ended(job) and job not in self.cancelled]

    def a_reader_goes_away(self):
        """Do as `Engine.generate` does then."""
        if live := self.live():
            job = self.data.draw(st.sampled_from(live))
            self.seen["cancelled", "running" if job.lease else "waiting"] += 1
            self.cancelled.add(job)
            job.cancelled = True
            if job.lease is None:
                self.scheduler.remove(job)

    def time_passes(self):
        self.now += 2.0

    def all_is_given_up(self):
        self.given_up = True  # those without a reader are told, too
        self.stepper.fail_all(GenerationError(CLOSED))
        assert self.live() == []
        self.check_blocks()

    def check_blocks(self):
        cache, leases = self.cache, [s.lease for s in self.scheduler.running]
        held = {block for lease in leases for block in lease.table}
        held |= {node.block for lease in leases for node in lease.path}  # the same as another has
        assert cache.used == len(held)
        assert cache.used + cache.idle + cache.free == BLOCKS
        self.seen["shared"] += cache.shared

    def end(self):
        """Let all be answered that still lives; then nothing is held."""
        for number in itertools.count():
            self.step()
            if not (self.scheduler.running or self.scheduler.waiting):
                break
            assert number < 2000, "it never ends"
        for job in self.jobs:
            assert self.ended(job) or job in self.cancelled
        assert (self.stepper._written, self.stepper._events) == ([], [])
        assert self.cache.used == 0
        self.cache.drop_idle()
        assert (self.cache.free, self.cache.host_used, self.cache.score_bytes) == (BLOCKS, 0, 0)
        assert not self.cache._roots
        self.seen["evictions"] += self.cache.counts.evictions
        self.seen["moved in"] += self.cache.counts.moved_in
        self.seen["answered"] += sum(isinstance(each, Chunk) for each in self.last.values())


HAPPENS = [
    *[Machine.a_request_comes] * 5, *[Machine.a_next_turn_comes] * 3,
    *[Machine.some_steps_are_taken] * 6, *[Machine.a_step_goes_wrong] * 3,
    Machine.a_reader_goes_away, *[Machine.time_passes] * 2,
]  # fmt: skip


@pytest.mark.timeout(600)  # a failure is made small
def test_every_request_is_answered_as_if_it_were_alone_or_ends_once_with_a_cause():
    seen = collections.Counter()

    @settings(max_examples=120, deadline=None)
    @given(
        data=st.data(),
        happens=st.lists(st.sampled_from(HAPPENS), min_size=25, max_size=60),
        given_up=st.booleans(),
    )
    def everything_happens(data, happens, given_up):
        machine = Machine(data, seen)
        for each in happens:
            each(machine)
        if given_up:
            machine.all_is_given_up()
        machine.end()

    everything_happens()
    missing = [what for what in WANTED if not seen[what]]
    assert not missing, "it never came to this"
