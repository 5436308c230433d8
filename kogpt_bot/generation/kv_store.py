"""The KV cache's tensors: keys and values of every block, on the devices and on the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kogpt_bot.generation.checkpoint import release_pages
from kogpt_bot.generation.kv_blocks import BLOCK, Move, Tier


class KVStore:
    """`layers[n]` [2, heads, blocks * BLOCK, head]: keys, then values, in layer n.

    A sequence whose blocks are neighbours is a view of it: nothing is gathered. Pages that no
    block has used yet take no memory on a CPU.
    """

    def __init__(
        self,
        heads: int,
        head: int,
        blocks: int,
        dtype: torch.dtype,
        devices: Sequence[torch.device],
        host_blocks: int = 0,
    ) -> None:
        size = (2, heads, blocks * BLOCK, head)
        self.layers = [torch.empty(size, dtype=dtype, device=device) for device in devices]
        pinned = bool(host_blocks) and devices[0].type == "cuda"  # copied without a detour
        self._host = [
            torch.empty((2, heads, host_blocks * BLOCK, head), dtype=dtype, pin_memory=pinned)
            for _ in (devices if host_blocks else ())
        ]

    def carry_out(self, moves: Sequence[Move]) -> None:
        """Copy what the bookkeeping decided, in its order."""
        for move in moves:
            source, target = move.source * BLOCK, move.target * BLOCK
            for number, layer in enumerate(self.layers):
                taken = self._host[number] if move.tier is Tier.IN else layer
                given = self._host[number] if move.tier is Tier.OUT else layer
                _part(given, target, move.tokens).copy_(
                    _part(taken, source, move.tokens), non_blocking=True
                )

    def release(self, free: Sequence[tuple[int, int]]) -> None:
        """Let the system have the memory behind free runs of blocks; a GPU keeps its own."""
        for layer in self.layers:
            if layer.device.type != "cpu":
                torch.cuda.empty_cache()
                return
            for begin, length in free:
                for part in layer.flatten(0, 1):
                    release_pages(part[begin * BLOCK : (begin + length) * BLOCK])


def _part(tensor: Tensor, begin: int, tokens: int) -> Tensor:
    return tensor[:, :, begin : begin + tokens]
