"""What one sequence brings to each draw: its parameters, its randomness, its tokens so far.

The penalties of all rows are applied at once: each row's tokens are one padded row of ids.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kogpt_bot.generation.request import SamplingParams

FAR = float("-inf")


@dataclass(slots=True)
class SamplingState:
    """Kept up token by token, so that a draw costs the same after ten tokens and a thousand."""

    params: SamplingParams
    vocabulary: int
    prompt_ids: Sequence[int]
    random: random.Random = field(init=False)
    seen: _Ids = field(init=False)  # of prompt and output, each once
    output: _Ids = field(init=False)  # of the output, each once
    counts: dict[int, int] = field(init=False, default_factory=dict)  # of the output
    _remembers: bool = field(init=False)  # whether anything of what was said weighs
    _drawn: float | None = field(init=False, default=None)  # for a token that is not chosen yet
    _again: float | None = field(init=False, default=None)  # to be drawn once more
    _last: list[int] = field(init=False, default_factory=list)  # the end of the sequence
    _followers: dict[tuple[int, ...], set[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        # A generator of its own: a seed gives the same text whatever shares the batch.
        self.random = random.Random(self.params.seed)  # noqa: S311  # no secret
        self.seen, self.output = _Ids(), _Ids()
        ngrams = bool(self.params.no_repeat_ngram_size)
        self._remembers = self.penalised or self.counted or ngrams
        if self.penalised:
            self.seen.extend(self.prompt_ids)
        if self.params.no_repeat_ngram_size:
            for token in self.prompt_ids:
                self._note_ngram(token)

    @property
    def penalised(self) -> bool:
        """Whether what was said before weighs."""
        return self.params.repetition_penalty != 1.0

    @property
    def counted(self) -> bool:
        """Whether how often it was said does."""
        return bool(self.params.presence_penalty or self.params.frequency_penalty)

    @property
    def banned(self) -> set[int]:
        """The tokens that would repeat an n-gram."""
        size = self.params.no_repeat_ngram_size
        if not size or len(self._last) < size - 1:
            return set()
        return self._followers.get(tuple(self._last), set())

    def draw(self) -> float:
        """Return a number from 0 to 1 for the next token: a new one, or one that was taken back."""
        self._drawn = self.random.random() if self._again is None else self._again
        self._again = None
        return self._drawn

    def take_back(self) -> None:
        """Let the next number be the last one again, unless a token came of it."""
        self._again = self._drawn

    def add(self, token: int) -> None:
        """Take note of a token that was chosen."""
        self._drawn = None
        if not self._remembers:
            return
        if self.penalised:
            self.seen.extend((token,))
        if self.counted:
            self.output.extend((token,))
            self.counts[token] = self.counts.get(token, 0) + 1
        if self.params.no_repeat_ngram_size:
            self._note_ngram(token)

    def _note_ngram(self, token: int) -> None:
        size = self.params.no_repeat_ngram_size
        if len(self._last) == size - 1:
            self._followers.setdefault(tuple(self._last), set()).add(token)
        self._last = [*self._last, token][-(size - 1) :] if size > 1 else []


class _Ids:
    """Distinct token ids as a tensor that grows in place."""

    __slots__ = ("_buffer", "_known")

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._buffer = torch.empty(0, dtype=torch.long)

    def extend(self, ids: Sequence[int]) -> None:
        new = [each for each in dict.fromkeys(ids) if each not in self._known]
        begin, end = len(self._known), len(self._known) + len(new)
        if end > len(self._buffer):
            grown = torch.empty(max(2 * len(self._buffer), end, 16), dtype=torch.long)
            grown[:begin] = self._buffer[:begin]
            self._buffer = grown
        if new:
            self._buffer[begin:end] = torch.tensor(new)
        self._known.update(new)

    @property
    def tensor(self) -> Tensor:
        return self._buffer[: len(self._known)]


def penalised(logits: Tensor, states: Sequence[SamplingState]) -> Tensor:
    """Return the logits [rows, vocabulary] with penalties; a copy where anything changes."""
    repeated = [row for row, state in enumerate(states) if state.penalised]
    counted = [row for row, state in enumerate(states) if state.counts]
    banned = [(row, each) for row, state in enumerate(states) for each in state.banned]
    if not (repeated or counted or banned):
        return logits
    logits = logits.clone()
    device = logits.device
    if repeated:
        at, ids = _places(repeated, [states[row].seen.tensor for row in repeated], device)
        penalty = column([states[row].params.repetition_penalty for row in repeated], device)
        found = logits[at, ids]
        logits[at, ids] = torch.where(found > 0, found / penalty, found * penalty)
    if counted:
        at, ids = _places(counted, [states[row].output.tensor for row in counted], device)
        counts = [torch.tensor(list(states[row].counts.values())) for row in counted]
        presence = column([states[row].params.presence_penalty for row in counted], device)
        frequency = column([states[row].params.frequency_penalty for row in counted], device)
        logits[at, ids] -= presence + frequency * _padded(counts).to(device)
    if banned:
        at, ids = torch.tensor(banned, device=device).T
        logits[at, ids] = FAR
    return logits


def column(
    numbers: Sequence[float], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return one number per row, [rows, 1]."""
    return torch.tensor(numbers, dtype=dtype, device=device).unsqueeze(1)


def _places(
    rows: Sequence[int], ids: Sequence[Tensor], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return row numbers [n, 1] and token ids [n, longest] to index logits with."""
    return torch.tensor(rows, device=device).unsqueeze(1), _padded(ids).to(device)


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """Return rows of different lengths as one tensor, each filled up with its first number.

    Where these are places, the same place is written twice with the same number.
    """
    padded = pad_sequence(list(rows), batch_first=True, padding_value=-1)
    return torch.where(padded < 0, padded[:, :1], padded)
