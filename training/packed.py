"""Plain text for training: token ids on disk, documents end to end, cut into sequences."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PackedText:
    """Sequences of `length` tokens, each with what follows it; shuffled, epoch after epoch.

    Which sequences a step sees depends on its number alone, so that a training resumed sees what
    one in a single piece does.
    """

    def __init__(self, path: Path, length: int, seed: int) -> None:
        self._ids = np.memmap(path, dtype=np.uint16, mode="r")
        self._length = length
        self._count = (len(self._ids) - 1) // length
        if not self._count:
            raise ValueError(f"{path} holds fewer than {length + 1} tokens")
        self._order = lru_cache(maxsize=2)(
            lambda epoch: np.random.default_rng((seed, epoch)).permutation(self._count)
        )

    def batch(self, start: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sequences from the `start`th on: tokens, labels and weights [rows, length];
        every token weighs the same."""
        shape = (rows, self._length)
        taken = [self._sequence(number) for number in range(start, start + rows)]
        both = torch.from_numpy(np.stack(taken).astype(np.int64)) if taken else torch.empty(0)
        if not taken:
            nothing = torch.empty(shape, dtype=torch.long)
            return nothing, nothing, torch.empty(shape)
        return both[:, :-1].contiguous(), both[:, 1:].contiguous(), torch.ones(shape)

    def _sequence(self, number: int) -> NDArray[np.uint16]:
        epoch, place = divmod(number, self._count)
        start = int(self._order(epoch)[place]) * self._length
        return self._ids[start : start + self._length + 1]
