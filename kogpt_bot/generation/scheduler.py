"""What runs next: pure bookkeeping, no torch.

Each step mixes one token of every running sequence with chunks of prompts that are still being
read, so that a long prompt never stalls the streams of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kogpt_bot.errors import GenerationBusy
from kogpt_bot.generation.kv_cache import Slot
from kogpt_bot.generation.request import GenerationRequest

BUSY_RETRY_S = 1.0


@dataclass(slots=True, eq=False)
class Sequence:
    """One request on its way: its tokens so far, and how many of them are in the cache."""

    request: GenerationRequest
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    slot: Slot | None = None
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt_ids)

    @property
    def prompt_length(self) -> int:
        """How many tokens the prompt has."""
        return len(self.request.prompt_ids)

    @property
    def generated(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens) - self.prompt_length

    @property
    def scores_prompt(self) -> bool:
        """Whether the log-probabilities of the prompt are asked for."""
        return self.request.echo and self.request.logprobs is not None

    @property
    def reserve(self) -> int:
        """How many tokens it will have at most."""
        return self.prompt_length + self.request.max_tokens


class Scheduler:
    """Waiting sequences per channel, running sequences, and the plan of the next step."""

    def __init__(self, *, max_running: int, step_tokens: int, max_waiting: int = 256) -> None:
        self.running: list[Sequence] = []
        self._max_running = max_running
        self._step_tokens = step_tokens
        self._max_waiting = max_waiting
        # priority -> channel -> its sequences; channels take turns within a priority
        self._waiting: dict[int, dict[str, deque[Sequence]]] = {}

    @property
    def waiting(self) -> int:
        """How many sequences wait."""
        return sum(len(q) for channels in self._waiting.values() for q in channels.values())

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait; GenerationBusy when too many do."""
        if self.waiting >= self._max_waiting:
            raise GenerationBusy(BUSY_RETRY_S)
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

    def admit(self, can_run: Callable[[Sequence], bool]) -> list[Sequence]:
        """Move waiting sequences to running while there is room; return them.

        The highest priority first, channels in turn within it. The first that does not fit
        holds back the rest: small requests must not starve a large one.
        """
        admitted: list[Sequence] = []
        while len(self.running) < self._max_running and (found := self._next()):
            if not can_run(found):
                break
            priority, channel = found.request.priority, found.request.channel
            queue = self._waiting[priority].pop(channel)
            queue.popleft()
            if queue:
                self._waiting[priority][channel] = queue  # to the end of the turns
            self._tidy(priority, channel)
            self.running.append(found)
            admitted.append(found)
        return admitted

    def _next(self) -> Sequence | None:
        if not self._waiting:
            return None
        channels = self._waiting[max(self._waiting)]
        return next(iter(channels.values()))[0]

    def _tidy(self, priority: int, channel: str) -> None:
        channels = self._waiting[priority]
        if channel in channels and not channels[channel]:
            del channels[channel]
        if not channels:
            del self._waiting[priority]

    def plan(self) -> list[tuple[Sequence, int]]:
        """Return which sequences run in the next step, with how many tokens each.

        Sequences that generate go first, one token each; what is left of the step's tokens
        reads prompts, in the order of their admission.
        """
        writing = [s for s in self.running if len(s.tokens) - s.computed == 1]
        steps = [(sequence, 1) for sequence in writing]
        left = max(self._step_tokens - len(steps), 1)
        for sequence in self.running:
            pending = len(sequence.tokens) - sequence.computed
            if pending > 1 and left > 0:
                steps.append((sequence, min(pending, left)))
                left -= pending
        return steps
