"""From chosen tokens to the chunks of a stream: text, stops, log-probabilities, the end."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from torch import Tensor

from kogpt_bot.generation.job import Job
from kogpt_bot.generation.request import Chunk, FinishReason, TokenLogprob
from kogpt_bot.generation.scoring import score


class Replies:
    """Makes the chunks of every job of one model."""

    def __init__(self, tokenizer: Tokenizer, eos_token_id: int | None) -> None:
        self._tokenizer = tokenizer
        self._eos = eos_token_id

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def token(self, token_id: int) -> str:
        """Return the text of one token, special ones included; U+FFFD for part of a character."""
        return str(self._tokenizer.decode([token_id], skip_special_tokens=False))

    def score_prompt(self, job: Job, begin: int, logits: Tensor) -> None:
        """Take note of the prompt's own log-probabilities, `logits` being of [begin, ...)."""
        if begin == 0:
            # Nothing stands before the first token: it has no probability.
            text = self.token(job.tokens[0])
            job.prompt_logprobs.append(TokenLogprob(job.tokens[0], text, None))
            job.shown = len(text)
        following = range(begin + 1, min(begin + 1 + len(logits), job.prompt_length))
        for row, at in enumerate(following):
            scored = self._score(job, logits[row], job.tokens[at])
            job.prompt_logprobs.append(scored)
            job.shown += len(scored.token)

    def echo(self, job: Job) -> Chunk:
        """Return the prompt as the beginning of the answer."""
        text = self.decode(job.request.prompt_ids)
        job.shown = len(text)
        return Chunk(text, job.request.prompt_ids, tuple(job.prompt_logprobs))

    def extend(self, job: Job, token: int, logits: Tensor) -> tuple[Chunk, FinishReason | None]:
        """Append a token; return what became certain, and why it ends if it does."""
        job.tokens.append(token)
        job.sampling.add(token)
        ended = token == self._eos and not job.request.ignore_eos
        scores: tuple[TokenLogprob, ...] = ()
        if job.request.logprobs is not None:
            scores = (self._score(job, logits, token),)
        text = "" if ended else job.text.push(token)
        job.shown += len(text)
        chunk = Chunk(job.stops.push(text), (token,), scores)
        if ended or job.stops.stopped:
            return chunk, FinishReason.STOP
        return chunk, FinishReason.LENGTH if job.generated >= job.request.max_tokens else None

    def last(self, job: Job, reason: FinishReason) -> Chunk:
        """Return the last chunk: what was held back, the reason, the usage."""
        rest = ""
        if not job.stops.stopped:
            rest = job.stops.push(job.text.finish()) + job.stops.finish()
        return Chunk(
            rest,
            finish_reason=FinishReason.STOP if job.stops.stopped else reason,
            prompt_tokens=job.prompt_length,
            completion_tokens=job.generated,
            seed=job.request.params.seed,
        )

    def _score(self, job: Job, logits: Tensor, token: int) -> TokenLogprob:
        return score(logits, token, job.request.logprobs or 0, self.token, job.shown)
