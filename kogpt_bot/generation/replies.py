"""From chosen tokens to the chunks of a stream: text, stops, log-probabilities, the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from tokenizers import Tokenizer
from torch import Tensor

from kogpt_bot.generation.job import Job
from kogpt_bot.generation.request import Chunk, FinishReason, TokenLogprob
from kogpt_bot.generation.scores import Scores
from kogpt_bot.generation.scoring import score


class Written(NamedTuple):  # made for every token
    """A token of a sequence whose text is still to be told. `reason`: why it is the last, as far
    as is known without the text."""

    job: Job
    token: int
    scores: Scores | None
    reason: FinishReason | None


class Replies:
    """Makes the chunks of every job of one model."""

    def __init__(self, tokenizer: Tokenizer, eos_token_id: int | None) -> None:
        self._tokenizer = tokenizer
        self._eos = eos_token_id
        self._names: dict[int, str] = {}  # of the tokens that were scored: no more than there are

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def token(self, token_id: int) -> str:
        """Return the text of one token, special ones included; U+FFFD for part of a character."""
        if token_id not in self._names:
            name = self._tokenizer.decode([token_id], skip_special_tokens=False)
            self._names[token_id] = str(name)
        return self._names[token_id]

    def score_prompt(self, job: Job, logits: Tensor) -> bool:
        """Take note of the prompt's scores where they are asked for; False: they are not finite.

        `logits` are of what was computed now, from the token before the first without a score.
        Where a step is done again, what follows them has scores.
        """
        scores = job.lease.scores if job.lease is not None else None
        if scores is None:
            return True
        following = job.tokens[len(scores) : min(job.computed + 1, job.prompt_length)]
        if following:
            new = score(logits[: len(following)], following, scores.width)
            if not all(map(math.isfinite, new.logprobs)):
                return False
            scores.extend(new)
        return True

    def echo(self, job: Job) -> Chunk:
        """Return the prompt as the beginning of the answer."""
        text = self.decode(job.request.prompt_ids)
        scored: list[TokenLogprob] = []
        if job.lease is not None and job.lease.scores is not None:
            offset = 0
            for at, token in enumerate(job.request.prompt_ids):
                scored.append(self._named(token, job.lease.scores, at, offset))
                offset += len(scored[-1].token)
            # Nothing stands before the first token: it has no probability.
            scored[0] = replace(scored[0], logprob=None, top=())
        job.shown = len(text)
        return Chunk(text, job.request.prompt_ids, tuple(scored))

    def append(self, job: Job, token: int, logits: Tensor) -> Written:
        """Append a token; return it with what is known without its text."""
        scores = None
        if job.request.logprobs is not None:  # first: memory may not suffice for it
            scores = score(logits.unsqueeze(0), [token], job.request.logprobs)
        job.tokens.append(token)
        job.sampling.add(token)
        reason = None
        if token == self._eos and not job.request.ignore_eos:
            reason = FinishReason.STOP
        elif len(job.tokens) >= job.reserve:
            reason = FinishReason.LENGTH
        return Written(job, token, scores, reason)

    def chunk(self, written: Written) -> tuple[Chunk, FinishReason | None]:
        """Return what became certain by a token, and why its sequence ends if it does."""
        job, token = written.job, written.token
        scores: tuple[TokenLogprob, ...] = ()
        if written.scores is not None:
            scores = (self._named(token, written.scores, 0, job.shown),)
        text = "" if written.reason is FinishReason.STOP else job.text.push(token)
        job.shown += len(text)
        chunk = Chunk(job.stops.push(text), (token,), scores)
        return chunk, FinishReason.STOP if job.stops.stopped else written.reason

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

    def _named(self, token: int, scores: Scores, at: int, offset: int) -> TokenLogprob:
        """Return the score at `at` in words; `offset` characters of the answer precede it."""
        top = tuple((self.token(each), value) for each, value in scores.top(at))
        return TokenLogprob(token, self.token(token), scores.logprobs[at], top, offset)
