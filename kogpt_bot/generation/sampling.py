"""Choosing the next token for every row of a batch at once, each row by its own parameters.

The order and the meaning of the parameters are those of transformers' logits processors:
repetition penalty, (OpenAI's presence and frequency penalty,) no-repeat n-gram, temperature,
top-k, top-p, min-p, typical-p.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kogpt_bot.generation.request import SamplingParams

FAR = float("-inf")


@dataclass(slots=True)
class SamplingState:
    """What one sequence brings to each draw: its parameters, its randomness, its tokens."""

    params: SamplingParams
    vocabulary: int
    prompt_ids: Sequence[int]
    random: random.Random = field(init=False)
    seen: Tensor | None = field(init=False, default=None)  # [vocabulary] bool, prompt and output
    counts: Tensor | None = field(init=False, default=None)  # [vocabulary] of the output

    def __post_init__(self) -> None:
        # A generator of its own: a seed gives the same text whatever shares the batch.
        self.random = random.Random(self.params.seed)  # noqa: S311  # no secret
        if self.params.repetition_penalty != 1.0:
            self.seen = torch.zeros(self.vocabulary, dtype=torch.bool)
            self.seen[torch.tensor(self.prompt_ids, dtype=torch.long)] = True
        if self.params.presence_penalty or self.params.frequency_penalty:
            self.counts = torch.zeros(self.vocabulary)

    def add(self, token: int) -> None:
        """Take note of a token that was chosen."""
        if self.seen is not None:
            self.seen[token] = True
        if self.counts is not None:
            self.counts[token] += 1


def sample(
    logits: Tensor, states: Sequence[SamplingState], tokens: Sequence[Sequence[int]]
) -> list[int]:
    """Return one token per row.

    `logits` [rows, vocabulary] in float32, finite; `tokens` are the sequences so far (prompt and
    output), for the n-grams. A greedy row (temperature 0) takes its likeliest token.
    """
    logits = penalised(logits, states, tokens)
    greedy = logits.argmax(dim=-1).tolist()
    rows = [row for row, state in enumerate(states) if state.params.temperature > 0]
    if not rows:
        return [int(token) for token in greedy]
    params = [states[row].params for row in rows]
    values, ids = _candidates(logits if len(rows) == len(states) else logits[rows], params)
    probabilities = filtered(values, params).softmax(dim=-1)
    draws = torch.tensor([states[row].random.random() for row in rows], device=logits.device)
    cumulative = probabilities.double().cumsum(dim=-1)
    target = draws.double().unsqueeze(1) * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, target, right=True)
    chosen = chosen.clamp(max=values.shape[1] - 1)
    for row, token in zip(rows, ids.gather(1, chosen).squeeze(1).tolist(), strict=True):
        greedy[row] = token
    return [int(token) for token in greedy]


def penalised(
    logits: Tensor, states: Sequence[SamplingState], tokens: Sequence[Sequence[int]]
) -> Tensor:
    """Return the logits with penalties; a copy where anything changes."""
    repeated = [row for row, state in enumerate(states) if state.seen is not None]
    counted = [row for row, state in enumerate(states) if state.counts is not None]
    grams = [row for row, state in enumerate(states) if state.params.no_repeat_ngram_size]
    if not (repeated or counted or grams):
        return logits
    logits = logits.clone()
    device = logits.device
    if repeated:
        seen = torch.stack([s for s in (states[row].seen for row in repeated) if s is not None])
        penalty = _column([states[row].params.repetition_penalty for row in repeated], device)
        part = logits[repeated]
        changed = torch.where(part > 0, part / penalty, part * penalty)
        logits[repeated] = torch.where(seen.to(device), changed, part)
    if counted:
        found = torch.stack([c for c in (states[row].counts for row in counted) if c is not None])
        counts = found.to(device)
        presence = _column([states[row].params.presence_penalty for row in counted], device)
        frequency = _column([states[row].params.frequency_penalty for row in counted], device)
        logits[counted] -= presence * (counts > 0) + frequency * counts
    for row in grams:
        banned = banned_by_ngram(tokens[row], states[row].params.no_repeat_ngram_size)
        logits[row, banned] = FAR
    return logits


def banned_by_ngram(tokens: Sequence[int], size: int) -> list[int]:
    """Return the tokens that would repeat an n-gram of `size` tokens."""
    if len(tokens) < size:
        return []
    end = tuple(tokens[len(tokens) - size + 1 :])
    return [
        tokens[at + size - 1]
        for at in range(len(tokens) - size + 1)
        if tuple(tokens[at : at + size - 1]) == end
    ]


def _candidates(logits: Tensor, params: Sequence[SamplingParams]) -> tuple[Tensor, Tensor]:
    """Return logits and ids, sorted downwards: the largest top-k of the rows, else all."""
    widest = max((each.top_k or logits.shape[1]) for each in params)
    if widest < logits.shape[1]:
        return logits.topk(widest, dim=-1)
    return logits.sort(dim=-1, descending=True)


def filtered(values: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Return sorted logits [rows, candidates] with what the parameters exclude at -inf."""
    device = values.device
    values = values / _column([each.temperature for each in params], device)
    rank = torch.arange(values.shape[1], device=device)
    if any(each.top_k for each in params):
        top_k = _column([each.top_k or values.shape[1] for each in params], device)
        # transformers keeps every token as likely as the last of the k
        last = values.gather(1, (top_k.long() - 1).clamp(max=values.shape[1] - 1))
        values = values.masked_fill(values < last, FAR)
    if any(each.top_p < 1 for each in params):
        top_p = _column([each.top_p for each in params], device)
        probabilities = values.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        excluded = (before >= top_p) & (rank > 0) & (top_p < 1)
        values = values.masked_fill(excluded, FAR)
    if any(each.min_p for each in params):
        min_p = _column([each.min_p for each in params], device)
        probabilities = values.softmax(dim=-1)
        excluded = (probabilities < min_p * probabilities[:, :1]) & (rank > 0)
        values = values.masked_fill(excluded, FAR)
    if any(each.typical_p < 1 for each in params):
        values = _typical(values, _column([each.typical_p for each in params], device))
    return values


def _typical(values: Tensor, mass: Tensor) -> Tensor:
    """Keep the tokens whose surprise is nearest to the expected one (Meister et al. 2022)."""
    logs = values.log_softmax(dim=-1)
    entropy = -(logs.exp() * logs).nansum(dim=-1, keepdim=True)
    shifted = (-logs - entropy).abs()
    ordered, order = shifted.sort(dim=-1)
    cumulative = values.gather(1, order).softmax(dim=-1).cumsum(dim=-1)
    last = (cumulative < mass).sum(dim=-1, keepdim=True).clamp(max=values.shape[1] - 1)
    excluded = (shifted > ordered.gather(1, last)) & (mass < 1)
    return values.masked_fill(excluded, FAR)


def _column(numbers: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device=device).unsqueeze(1)
