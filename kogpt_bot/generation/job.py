"""A request on its way through the engine: its sequence, its randomness, its stream."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from kogpt_bot.generation.event_stream import EventStream
from kogpt_bot.generation.penalties import SamplingState
from kogpt_bot.generation.request import GenerationRequest
from kogpt_bot.generation.scheduler import Sequence
from kogpt_bot.generation.text import StopBuffer, TextStream


@dataclass(slots=True, eq=False, kw_only=True)
class Job(Sequence):
    """A sequence with what belongs to its stream."""

    sampling: SamplingState
    text: TextStream
    stops: StopBuffer
    events: EventStream
    shown: int = 0  # characters of decoded text so far, for the offsets of log-probabilities
    last_token: float | None = None  # monotonic time at which the last token was chosen

    @classmethod
    def make(
        cls, request: GenerationRequest, arrived: float, vocabulary: int, tokenizer: Tokenizer
    ) -> Job:
        """Return a job for a request that was validated and has its seed."""
        return cls(
            request,
            arrived,
            sampling=SamplingState(request.params, vocabulary, request.prompt_ids),
            text=TextStream(tokenizer),
            stops=StopBuffer(request.stop, include=request.include_stop),
            events=EventStream(request.interval_s),
        )
