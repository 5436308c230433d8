"""One step of the engine: end, admit, plan, run the model over all of it, choose the next tokens.

Everything here runs on the engine's thread; what other threads may touch (the queue, the marks of
cancelled jobs) is only touched under the lock.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
import torch
from torch import Tensor

from kogpt_bot.errors import GenerationError, GenerationExpired, GenerationOutOfMemory
from kogpt_bot.generation.attention import Segment
from kogpt_bot.generation.event_stream import Event
from kogpt_bot.generation.figures import GAPS_S, SIZES, WAITS_S, Histogram, Rate
from kogpt_bot.generation.job import Job
from kogpt_bot.generation.kv_blocks import BLOCK, Match, common_prefix
from kogpt_bot.generation.kv_cache import KVCache
from kogpt_bot.generation.model import GPTJ
from kogpt_bot.generation.replies import Replies, Written
from kogpt_bot.generation.request import FinishReason
from kogpt_bot.generation.sampling import row_sums, sample
from kogpt_bot.generation.scheduler import Fit, Scheduler
from kogpt_bot.generation.scheduler import Sequence as Running

log = structlog.get_logger(__name__)

Part = tuple[Running, int]  # a sequence, and how many of its tokens a step computes
# In what a CPU's allocator, the CUDA runtime (at the start; in a step its errors end the process)
# and cuBLAS say.
SHORT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
NOT_FINITE = "the model gave NaN or infinity"
Tell = Callable[[list[tuple[Job, Event]]], None]


@dataclass(slots=True)
class Counters:
    """What the steps did since the start."""

    steps: int = 0
    step_seconds: float = 0.0
    prefilled: int = 0
    reused: int = 0
    generated: int = 0
    failed: int = 0
    expired: int = 0
    prefill_rate: Rate = field(default_factory=Rate)
    decode_rate: Rate = field(default_factory=Rate)
    begin_rate: Rate = field(default_factory=Rate)  # requests that were admitted
    batch_size: Histogram = field(default_factory=lambda: Histogram(SIZES))
    queue_wait: Histogram = field(default_factory=lambda: Histogram(WAITS_S))
    first_token: Histogram = field(default_factory=lambda: Histogram(WAITS_S))
    token_gap: Histogram = field(default_factory=lambda: Histogram(GAPS_S))


class Stepper:
    """Steps one model. `tell` hands events to the streams, many at once."""

    def __init__(
        self,
        model: GPTJ,
        cache: KVCache,
        scheduler: Scheduler,
        replies: Replies,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = threading.Lock()
        self.counters = Counters()
        self.cache = cache
        self.scheduler = scheduler
        self._model = model
        self._store = model.new_store(cache.blocks, cache.host_blocks)
        self._replies = replies
        self._tell = tell
        self._clock = clock
        self._events: list[tuple[Job, Event]] = []
        self._written: list[Written] = []  # by the last step: told while the device does the next

    def step(self) -> bool:
        """Run one step; returns whether there is more to do.

        Whatever goes wrong in it fails the requests that were in it, and no others; a
        torch.AcceleratorError alone is raised, since no step can succeed after it.
        """
        with self.lock:
            self._end_unwanted()
            for each in self.scheduler.admit(self._fit):
                self._begin(each)
            plan = self.scheduler.plan()
        if plan:
            self._carry_out(plan)
        else:
            self._speak(self._written)
        self._deliver()
        return bool(self.scheduler.running or self.scheduler.waiting)

    def fail_all(self, error: GenerationError) -> None:
        """Fail whatever runs or waits."""
        with self.lock:
            for each in self.scheduler.expired(float("inf")):
                self._fail(each, error)
        self._written = []
        self._tell(self._events)
        self._events = []

    # --- before the model runs ------------------------------------------------------------------

    def _end_unwanted(self) -> None:
        for each in [s for s in self.scheduler.running if s.cancelled]:
            self._end(each, keep=True)
        for each in self.scheduler.expired(self._clock()):
            self.counters.expired += 1
            self._fail(each, GenerationExpired("the deadline passed before the answer was whole"))

    def _fit(self, sequence: Running) -> Fit:
        match, scored = self._match(sequence), sequence.alternatives is not None
        prompt = list(sequence.request.prompt_ids)
        wanted = prompt if scored else prompt[:-1]
        for other in self.scheduler.running:
            # What another is reading at this moment need not be read twice.
            if other.pending > 1 and _serves(other, sequence):
                common = common_prefix(other.tokens, wanted)
                if common - common % BLOCK > match.tokens + scored:
                    return Fit.LATER
        return Fit.YES if self.cache.can_admit(match, sequence.reserve) else Fit.NO

    def _begin(self, sequence: Running) -> None:
        """Take room, and take over what the cache has of the beginning."""
        match = self._match(sequence)
        sequence.hold(self.cache.admit(match, sequence.reserve, sequence.request.cache_salt))
        now = self._clock()
        self.counters.reused += match.tokens
        self.counters.begin_rate.add(now, 1)
        self.counters.queue_wait.add(now - sequence.arrived)

    def _match(self, sequence: Running) -> Match:
        request = sequence.request
        return self.cache.match(request.prompt_ids, request.cache_salt, sequence.alternatives)

    # --- the model ------------------------------------------------------------------------------

    def _carry_out(self, plan: Sequence[Part]) -> None:
        begun = self._clock()
        computed = [each.computed for each, _ in plan]
        try:
            self._run(plan)
        except torch.AcceleratorError:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                log.exception("step_failed", requests=len(plan))
                self._fail_part(plan, GenerationError(f"the computation failed: {error}"))
            else:
                for (each, _), before in zip(plan, computed, strict=True):
                    each.computed = before  # whatever was half done is done again
                    if isinstance(each, Job):
                        each.sampling.take_back()
                self._run_halves(plan)
        self.counters.step_seconds += self._clock() - begun

    def _run_halves(self, plan: Sequence[Part]) -> None:
        """Try once more with what can be freed, and half of the step at a time."""
        log.warning("out_of_memory", requests=len(plan))
        self._speak(self._written)  # which may end some of them
        self._free_memory()
        plan = [(each, count) for each, count in plan if each.lease is not None]
        middle = (len(plan) + 1) // 2
        for half in (plan[:middle], plan[middle:]):
            if not half:
                continue
            try:
                self._run(half)
            except torch.AcceleratorError:
                raise
            except Exception as error:
                log.exception("step_failed", requests=len(half))
                short = GenerationOutOfMemory("memory does not suffice for this request now")
                failed = GenerationError(f"the computation failed: {error}")
                self._fail_part(half, short if is_out_of_memory(error) else failed)

    def _free_memory(self) -> None:
        """Give back what nobody needs now: blocks that are kept for others, where that helps."""
        free: list[tuple[int, int]] = []
        if self._store.shrinks and not self.cache.moves:  # which may begin in blocks that are free
            with self.lock:
                self.cache.drop_idle()
            free = self.cache.free_runs()
        self._store.release(free)

    def _run(self, plan: Sequence[Part]) -> None:
        self._store.carry_out(self.cache.moves)
        segments, flat = _batch(plan)
        logits = self._model.forward(self._store, *flat, segments)
        self._speak(self._written)
        self._deliver()
        self.counters.steps += 1
        self.counters.batch_size.add(len(plan))
        rows: list[tuple[Job, Tensor]] = []
        at = read = 0
        for (job, count), segment in zip(plan, segments, strict=True):
            own = logits[at : at + segment.want]
            at += segment.want
            if isinstance(job, Job):
                read += count if job.computed < job.prompt_length else 0
                self._computed(job, count, own)
                if segment.want and not job.pending and job.lease is not None:
                    rows.append((job, own[-1]))
        self._choose(rows, logits)
        self.counters.prefilled += read  # only now: a step may be done again
        self.counters.prefill_rate.add(self._clock(), read)

    def _computed(self, job: Job, count: int, logits: Tensor) -> None:
        """Take note of tokens that are in the cache now."""
        begin = job.computed
        job.computed += count
        if begin < job.prompt_length and not self._replies.score_prompt(job, logits):
            self._fail_part([(job, count)], GenerationError(NOT_FINITE))
        if job.lease is not None and job.computed // BLOCK > begin // BLOCK:
            with self.lock:
                self.cache.advance(job.lease, job.tokens[: job.computed])

    # --- after it -------------------------------------------------------------------------------

    def _choose(self, rows: Sequence[tuple[Job, Tensor]], logits: Tensor) -> None:
        if not rows:
            return
        # Mostly all that was computed; a copy of it takes as long as the search in it.
        stacked = logits if len(rows) == len(logits) else torch.stack([row for _, row in rows])
        sums = torch.empty(len(rows), pin_memory=stacked.is_cuda)
        sums.copy_(row_sums(stacked), non_blocking=True)
        writing = [n for n, (job, _) in enumerate(rows) if job.request.max_tokens > 0]
        chosen: dict[int, int] = {}
        # Of a row that is not finite, too: to ask first would be one more wait for the device.
        if writing:
            part = stacked if len(writing) == len(rows) else stacked[writing]
            tokens = sample(part, [rows[n][0].sampling for n in writing])
            chosen = dict(zip(writing, tokens, strict=True))
        if stacked.is_cuda:
            torch.cuda.current_stream(stacked.device).synchronize()
        now, before = self._clock(), self.counters.generated
        for number, ((job, _), total) in enumerate(zip(rows, sums.tolist(), strict=True)):
            if not math.isfinite(total):
                self._fail_part([(job, 1)], GenerationError(NOT_FINITE))
            elif job.request.max_tokens == 0:
                self._events += self._echo(job)
                self._finish(job, FinishReason.LENGTH)
            else:
                echo = self._echo(job)
                written = self._replies.append(job, chosen[number], stacked[number])
                # One by one, and only now: the next, or this one, may fail and be done again.
                self._written.append(written)
                self._events += echo
                self._time(job, now)
                self.counters.generated += 1
        self.counters.decode_rate.add(now, self.counters.generated - before)
        waits = self._model.asynchronous
        later = [each for each in self._written if each.reason is None and waits]
        self._speak([each for each in self._written if each.reason is not None or not waits])
        self._written = later

    def _speak(self, written: Sequence[Written]) -> None:
        """Tell the text of tokens; a sequence may end by it."""
        self._written = []
        for each in written:
            if each.job.lease is not None:
                chunk, reason = self._replies.chunk(each)
                self._events.append((each.job, chunk))
                if reason is not None:
                    self._finish(each.job, reason)

    def _echo(self, job: Job) -> list[tuple[Job, Event]]:
        """Return the prompt for a job that begins now and whose reader wants it, else nothing."""
        if not job.request.echo or job.generated:
            return []
        return [(job, self._replies.echo(job))]

    def _time(self, job: Job, now: float) -> None:
        if job.last_token is None:
            self.counters.first_token.add(now - job.arrived)
        else:
            self.counters.token_gap.add(now - job.last_token)
        job.last_token = now

    def _deliver(self) -> None:
        if self._events:
            self._tell(self._events)
            self._events = []

    def _finish(self, job: Job, reason: FinishReason) -> None:
        self._events.append((job, self._replies.last(job, reason)))
        with self.lock:
            self._end(job, keep=True)

    def _fail_part(self, plan: Sequence[Part], error: GenerationError) -> None:
        self._speak(self._written)  # which may end some of them well
        with self.lock:
            for each, _ in plan:
                if each.lease is not None:
                    self.counters.failed += 1
                    self._fail(each, error)

    def _fail(self, sequence: Running, error: GenerationError) -> None:
        if isinstance(sequence, Job):
            last = [each for each in self._written if each.job is sequence]
            self._events += [(sequence, self._replies.chunk(each)[0]) for each in last]
            self._events.append((sequence, error))
        self._end(sequence, keep=isinstance(error, GenerationExpired))

    def _end(self, sequence: Running, *, keep: bool) -> None:
        """Let a sequence go, and its blocks; they may be used again in this very step."""
        self.scheduler.remove(sequence)
        if sequence.lease is not None:
            computed = sequence.tokens[: sequence.computed]
            self.cache.release(sequence.lease, computed, keep=keep)
            sequence.lease = None


def _batch(plan: Sequence[Part]) -> tuple[list[Segment], tuple[Tensor, Tensor, Tensor]]:
    """Return the flat batch of a step: segments, token ids, positions, places in the store."""
    segments: list[Segment] = []
    tokens: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    for each, count in plan:
        if each.lease is None:
            raise GenerationError("the sequence has no room in the cache")
        begin, end, table = each.computed, each.computed + count, each.lease.table
        want = count if each.lease.scores is not None else int(end == len(each.tokens))
        segments.append(Segment(table, each.spans, len(tokens), count, begin, want))
        if count == 1:  # as nearly always
            tokens.append(each.tokens[begin])
            positions.append(begin)
            slots.append(table[begin // BLOCK] * BLOCK + begin % BLOCK)
            continue
        tokens += each.tokens[begin:end]
        positions += range(begin, end)
        slots += [table[at // BLOCK] * BLOCK + at % BLOCK for at in range(begin, end)]
    ids, at, places = torch.from_numpy(np.array([tokens, positions, slots])).unbind()
    return segments, (ids, at, places)


def _serves(one: Running, other: Running) -> bool:
    """Whether what one computes will serve the other."""
    if one.request.cache_salt != other.request.cache_salt:
        return False
    wanted, given = other.alternatives, one.alternatives
    return wanted is None or (given is not None and given >= wanted)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch or of Python says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in SHORT_OF_MEMORY)
