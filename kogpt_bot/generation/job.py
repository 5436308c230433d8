"""A request on its way through the engine: its sequence, its randomness, its stream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from kogpt_bot.errors import GenerationError
from kogpt_bot.generation.request import Chunk, TokenLogprob
from kogpt_bot.generation.sampling import SamplingState
from kogpt_bot.generation.scheduler import Sequence as Running
from kogpt_bot.generation.text import StopBuffer, TextStream

Event = Chunk | GenerationError


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine does now and did since it was started."""

    running: int
    waiting: int
    cache_tokens: int
    cache_capacity: int
    steps: int
    prefilled: int  # prompt tokens computed
    reused: int  # prompt tokens taken from the cache
    generated: int
    last_step: float  # monotonic time at which the last step ended


@dataclass(slots=True, eq=False)
class Job(Running):
    """A sequence with what belongs to its stream."""

    sampling: SamplingState | None = None
    text: TextStream | None = None
    stops: StopBuffer | None = None
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    shown: int = 0  # characters of decoded text so far, for the offsets of log-probabilities
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
