"""A generation request and the pieces of its answer, as plain values (no torch)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen. The neutral value of each switches it off.

    `temperature` 0 means greedy. `top_k` 0, `top_p` 1, `min_p` 0, `typical_p` 1,
    `repetition_penalty` 1, `no_repeat_ngram_size` 0, both OpenAI penalties 0: off.
    `seed` None draws one from the system.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to be continued.

    `prompt_ids` has 1..context tokens; `max_tokens` of 0 is allowed with `echo` (scoring).
    `logprobs` is None for none, else the number of alternatives per token (0..20).
    `channel` groups requests for fairness; higher `priority` first. Only requests of the same
    `cache_salt` share what the cache has. After `deadline_s` seconds nobody waits for it any more.
    Chunks come at most once in `interval_s` seconds, but for the first text and the end.
    """

    id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    ignore_eos: bool = False
    logprobs: int | None = None
    echo: bool = False
    channel: str = ""
    priority: int = 0
    cache_salt: str = ""
    deadline_s: float | None = None
    interval_s: float = 0.0


class FinishReason(enum.StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the end-of-text token or a stop string
    LENGTH = "length"  # max_tokens or the model's context
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its log-probability under the model's own distribution (before sampling
    parameters), `None` for the first token of an echoed prompt, and the `top` alternatives."""

    token_id: int
    token: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()
    offset: int = 0  # of its text in the answer, in characters


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. Text is final: it is never taken back, never half a character, and
    never part of a stop string. Exactly the last chunk has a `finish_reason`."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    prompt_tokens: int = 0  # on the last chunk: usage
    completion_tokens: int = 0
    seed: int | None = None  # on the last chunk: the seed that was used
