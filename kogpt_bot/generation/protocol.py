"""What may be posted to the API, and what comes back: OpenAI's completions with vLLM's extras."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kogpt_bot.generation.request import Chunk, FinishReason, SamplingParams, TokenLogprob

MAX_STOPS = 32
MAX_STOP_CHARS = 256
MAX_PROMPTS = 64
MAX_CHOICES = 16

TokenId = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class StreamOptions(BaseModel):
    """Whether the last event of a stream has the usage."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class CompletionRequest(BaseModel):
    """A request to `/v1/completions`; a field that is not here is refused by name."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    prompt: str | list[TokenId] | list[str] | list[list[TokenId]]
    max_tokens: Annotated[int, Field(ge=0, strict=True)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES, strict=True)] | None = None
    best_of: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20, strict=True)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=5)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, strict=True)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100, strict=True)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)] | None = None
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    priority: Annotated[int, Field(ge=-100, le=100, strict=True)] | None = None
    user: str | None = None

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
    def _prompts(cls, value: Any) -> Any:
        if isinstance(value, list) and (not value or [] in value):
            raise ValueError("allowed: a string, token ids, or a list of either; not empty")
        if isinstance(value, list) and not isinstance(value[0], int) and len(value) > MAX_PROMPTS:
            raise ValueError(f"allowed: at most {MAX_PROMPTS} prompts at once")
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


def explain(error: ValidationError) -> tuple[str, str]:
    """Return the parameter's name and one line that says what is wrong and what is allowed."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "body"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(sorted(CompletionRequest.model_fields))
        return name, f"{name}: not supported; allowed: {allowed}"
    if name == "prompt":
        message = "a string, token ids, or a list of either is expected"
    return name, f"{name}: {message}"


def error_body(
    message: str, *, type_: str, param: str | None = None, code: str = ""
) -> dict[str, Any]:
    """Return an error as OpenAI shapes it."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code or None}}


def choice(index: int, text: str, reason: FinishReason | None, logprobs: Any) -> dict[str, Any]:
    """Return one choice of an answer."""
    return {
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": reason.value if reason else None,
    }


def logprobs_body(scores: list[TokenLogprob] | tuple[TokenLogprob, ...]) -> dict[str, Any]:
    """Return log-probabilities as `/v1/completions` shapes them."""
    return {
        "tokens": [each.token for each in scores],
        "token_logprobs": [each.logprob for each in scores],
        "top_logprobs": [None if each.logprob is None else dict(each.top) for each in scores],
        "text_offset": [each.offset for each in scores],
    }


def usage(chunks: list[Chunk]) -> dict[str, int]:
    """Return the usage of finished choices."""
    prompt = sum(each.prompt_tokens for each in chunks)
    completion = sum(each.completion_tokens for each in chunks)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
