"""What may be posted to the API, and what comes back: OpenAI's completions with vLLM's extras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationOutOfMemory,
    GenerationRejected,
    GenerationUnavailable,
)
from kogpt_bot.generation.request import Chunk, FinishReason, SamplingParams, TokenLogprob

MAX_STOPS = 32
MAX_STOP_CHARS = 256
MAX_CHOICES = 64  # prompts times `n`; well below what the engine lets wait
MAX_TOKEN_ID = 2**31 - 1

TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Number = Annotated[float, Field(allow_inf_nan=False)]
PROMPT_KINDS = "a string, token ids, or a list of either; not empty"
# What clients send to say nothing; said otherwise it is refused.
UNSUPPORTED = frozenset({"suffix", "logit_bias", "best_of"})


class Body(BaseModel):
    """A body: no field that is not known, no `true` for 1, no `"1"` for 1."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(Body):
    """Whether the last event of a stream has the usage."""

    include_usage: bool = False


class TokenizeRequest(Body):
    """A request to `/tokenize`."""

    prompt: str
    model: str | None = None


class DetokenizeRequest(Body):
    """A request to `/detokenize`."""

    tokens: list[TokenId]
    model: str | None = None


class CompletionRequest(Body):
    """A request to `/v1/completions`; a field that is not here is refused by name."""

    model: str | None = None
    prompt: str | list[TokenId] | list[str] | list[list[TokenId]]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=5)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    cache_salt: Annotated[str, Field(max_length=256)] | None = None
    user: str | None = None  # taken, since OpenAI's clients send it; nothing depends on it

    @field_validator("stop")
    @classmethod
    def _stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > MAX_STOPS or any(not 1 <= len(s) <= MAX_STOP_CHARS for s in stops):
            raise ValueError(
                f"allowed: at most {MAX_STOPS} strings of 1 to {MAX_STOP_CHARS} characters"
            )
        return value

    @field_validator("prompt")
    @classmethod
    def _prompts(cls, value: str | list[Any]) -> str | list[Any]:
        if isinstance(value, list) and (not value or [] in value):
            raise ValueError(f"allowed: {PROMPT_KINDS}")
        return value

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, one or more."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        many: list[Any] = list(self.prompt)
        return [many] if isinstance(many[0], int) else many

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self, choice: int) -> SamplingParams:
        """Return the parameters of one choice; each choice has a seed of its own."""
        neutral = SamplingParams()
        given = {
            name: value
            for name in SamplingParams.__dataclass_fields__
            if (value := getattr(self, name)) is not None
        }
        given["top_k"] = max(given.get("top_k", neutral.top_k), 0)
        if self.seed is not None:
            given["seed"] = (self.seed + choice) % 2**63
        return SamplingParams(**given)


class ApiError(Exception):
    """An answer that is an error, as OpenAI shapes it."""

    def __init__(
        self,
        status: int,
        message: str,
        type_: str = "invalid_request_error",
        *,
        param: str | None = None,
        code: str | None = None,
        retry_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if retry_s is None else {"Retry-After": str(max(1, round(retry_s)))}
        self.body = {"error": {"message": message, "type": type_, "param": param, "code": code}}

    @classmethod
    def of(cls, error: GenerationError) -> ApiError:
        """Return the answer that stands for an error of the engine."""
        if isinstance(error, GenerationRejected):
            return cls(400, str(error), param="prompt")
        if isinstance(error, GenerationBusy):
            return cls(
                429, str(error), "rate_limit_error", code="queue_full", retry_s=error.seconds
            )
        if isinstance(error, GenerationOutOfMemory):
            return cls(503, str(error), "server_error", code="out_of_memory", retry_s=1.0)
        if isinstance(error, GenerationExpired):
            return cls(504, str(error), "server_error", code="deadline_exceeded")
        if isinstance(error, GenerationUnavailable):
            return cls(503, str(error), "server_error", code="unavailable", retry_s=1.0)
        return cls(500, str(error), "server_error")


def explain(error: ValidationError) -> ApiError:
    """Return the answer to a body that is wrong: which parameter, why, and what is allowed."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else None
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(sorted(set(CompletionRequest.model_fields) - UNSUPPORTED))
        message = f"not supported; allowed: {allowed}"
    elif name in UNSUPPORTED:
        message = f"not supported; leave it out ({message[0].lower()}{message[1:]})"
    elif first["type"] == "missing":
        message = "missing"
    elif name == "prompt" and first["type"] != "value_error":
        message = f"allowed: {PROMPT_KINDS}"
    return ApiError(400, f"{name or 'body'}: {message}", param=name)


def choice(
    index: int, text: str, reason: FinishReason | None, logprobs: dict[str, Any] | None
) -> dict[str, Any]:
    """Return one choice of an answer."""
    return {
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": reason.value if reason else None,
    }


def logprobs_body(scores: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return log-probabilities as `/v1/completions` shapes them."""
    return {
        "tokens": [each.token for each in scores],
        "token_logprobs": [each.logprob for each in scores],
        "top_logprobs": [None if each.logprob is None else dict(each.top) for each in scores],
        "text_offset": [each.offset for each in scores],
    }


def usage(last: Sequence[Chunk], prompts: int) -> dict[str, int]:
    """Return the usage of an answer from the last chunk of each choice; a prompt counts once."""
    choices_per_prompt = len(last) // prompts
    prompt = sum(each.prompt_tokens for each in last) // choices_per_prompt
    completion = sum(each.completion_tokens for each in last)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
