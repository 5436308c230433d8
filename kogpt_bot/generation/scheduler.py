"""What runs next: pure bookkeeping, no torch.

Each step mixes one token of every running sequence with chunks of prompts that are still being
read, so that a long prompt never stalls the streams of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from kogpt_bot.errors import GenerationBusy
from kogpt_bot.generation.extents import runs
from kogpt_bot.generation.kv_blocks import Lease
from kogpt_bot.generation.request import GenerationRequest

BUSY_RETRY_S = 1.0
READING_SHARE = 0.5  # of a step's tokens, at least, for prompts: also where many write
QUICK_SHARE = 0.5  # of what a step reads: prompts nearly read, before the one that came first


@dataclass(slots=True, eq=False)
class Sequence:
    """One request on its way: its tokens so far, and how many of them are in the cache."""

    request: GenerationRequest
    arrived: float = 0.0  # monotonic seconds
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    lease: Lease | None = None
    spans: list[tuple[int, int]] = field(default_factory=list)  # its blocks, as runs
    cancelled: bool = False
    prompt_length: int = field(init=False)  # tokens
    reserve: int = field(init=False)  # tokens that it will have at most

    def __post_init__(self) -> None:
        request = self.request
        self.tokens = list(request.prompt_ids)
        self.prompt_length = len(request.prompt_ids)
        self.reserve = self.prompt_length + request.max_tokens

    @property
    def generated(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens) - self.prompt_length

    @property
    def pending(self) -> int:
        """How many tokens are to be computed: one for a sequence that writes."""
        return len(self.tokens) - self.computed

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to each token of the prompt; None: it is not scored."""
        return self.request.logprobs if self.request.echo else None

    @property
    def deadline(self) -> float:
        """The monotonic time at which nobody waits for it any more."""
        limit = self.request.deadline_s
        return float("inf") if limit is None else self.arrived + limit

    def hold(self, lease: Lease) -> None:
        """Take its room in the cache; what the cache has of the prompt is computed."""
        self.lease = lease
        self.spans = runs(lease.table)
        self.computed = lease.cached


class Fit(Enum):
    """Whether a sequence can run now."""

    YES = "yes"
    NO = "no"  # not before others end; nobody overtakes it
    LATER = "later"  # soon, and others may go first


class Scheduler:
    """Waiting sequences per channel, running sequences, and the plan of the next step."""

    def __init__(self, *, max_running: int, step_tokens: int, max_waiting: int = 256) -> None:
        self.running: list[Sequence] = []
        self.max_running = max_running
        self.step_tokens = step_tokens
        self._max_waiting = max_waiting
        # priority -> channel -> its sequences; channels take turns within a priority
        self._waiting: dict[int, dict[str, deque[Sequence]]] = {}

    @property
    def waiting(self) -> int:
        """How many sequences wait."""
        return sum(len(q) for channels in self._waiting.values() for q in channels.values())

    def add(self, sequence: Sequence, retry_s: float = BUSY_RETRY_S) -> None:
        """Let a sequence wait; GenerationBusy, to retry after `retry_s`, when too many do."""
        if self.waiting >= self._max_waiting:
            raise GenerationBusy(retry_s)
        channels = self._waiting.setdefault(sequence.request.priority, {})
        channels.setdefault(sequence.request.channel, deque()).append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is."""
        if sequence in self.running:
            self.running.remove(sequence)
            return
        channels = self._waiting.get(sequence.request.priority, {})
        queue = channels.get(sequence.request.channel)
        if queue and sequence in queue:
            queue.remove(sequence)
            self._tidy(sequence.request.priority, sequence.request.channel)

    def expired(self, now: float) -> list[Sequence]:
        """Return the sequences, waiting or running, whose deadline has passed."""
        queued = (s for c in self._waiting.values() for queue in c.values() for s in queue)
        return [each for each in (*self.running, *queued) if each.deadline <= now]

    def admit(self, fits: Callable[[Sequence], Fit]) -> Iterator[Sequence]:
        """Move waiting sequences to running while there is room, and give them one by one.

        The highest priority first, channels in turn within it. The first that does not fit
        holds back the rest: small requests must not starve a large one.
        """
        passed: set[tuple[int, str]] = set()
        while len(self.running) < self.max_running and (found := self._next(passed)):
            priority, channel = found.request.priority, found.request.channel
            fit = fits(found)
            if fit is Fit.NO:
                return
            if fit is Fit.LATER:
                passed.add((priority, channel))
                if len(passed) >= self.max_running:
                    return  # asking costs time, and they will run in a few steps
                continue
            queue = self._waiting[priority].pop(channel)
            queue.popleft()
            if queue:
                self._waiting[priority][channel] = queue  # to the end of the turns
            self._tidy(priority, channel)
            self.running.append(found)
            yield found

    def _next(self, passed: set[tuple[int, str]]) -> Sequence | None:
        for priority in sorted(self._waiting, reverse=True):
            for channel, queue in self._waiting[priority].items():
                if (priority, channel) not in passed:
                    return queue[0]
        return None

    def _tidy(self, priority: int, channel: str) -> None:
        channels = self._waiting[priority]
        if channel in channels and not channels[channel]:
            del channels[channel]
        if not channels:
            del self._waiting[priority]

    def plan(self) -> list[tuple[Sequence, int]]:
        """Return which sequences run in the next step, with how many tokens each.

        Sequences that write go first, one token each, those with the same beginning side by
        side. What is left of the step's tokens, and half of them at least, reads prompts: half of
        it those that are nearly read, so that a next turn does not wait behind a long history,
        the rest by priority and in the order of admission.
        """
        writing: list[Sequence] = []
        reading: list[Sequence] = []
        for each in self.running:
            (writing if each.pending == 1 else reading).append(each)
        writing.sort(key=lambda s: s.lease.table if s.lease is not None else [])
        left = max(self.step_tokens - len(writing), int(self.step_tokens * READING_SHARE), 1)
        counts: dict[Sequence, int] = {}
        quick = int(left * QUICK_SHARE)
        for sequence in sorted(reading, key=lambda s: s.pending):
            if sequence.pending > quick:
                break
            counts[sequence] = sequence.pending
            quick -= sequence.pending
        left -= sum(counts.values())
        for sequence in sorted(reading, key=lambda s: -s.request.priority):
            if sequence not in counts and left > 0:
                counts[sequence] = min(sequence.pending, left)
                left -= counts[sequence]
        return [(sequence, 1) for sequence in writing] + list(counts.items())
