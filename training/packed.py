"""Plain text for training: token ids on disk, documents end to end, cut into sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class PackedText:
    """Sequences of `length` tokens, each with what follows it; shuffled, epoch after epoch."""

    def __init__(self, path: Path, length: int, seed: int) -> None:
        self._ids = np.memmap(path, dtype=np.uint16, mode="r")
        self._length = length
        self._rng = np.random.default_rng(seed)
        self._order: list[int] = []

    def batch(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens, labels and weights, each [rows, length]; every token weighs the same."""
        taken = [self._next() for _ in range(rows)]
        shape = (rows, self._length)
        tokens = torch.tensor([each[:-1] for each in taken], dtype=torch.long).view(shape)
        labels = torch.tensor([each[1:] for each in taken], dtype=torch.long).view(shape)
        return tokens, labels, torch.ones(shape)

    def _next(self) -> list[int]:
        if not self._order:
            count = (len(self._ids) - 1) // self._length
            self._order = self._rng.permutation(count).tolist()
        start = self._order.pop() * self._length
        return [int(each) for each in self._ids[start : start + self._length + 1]]
