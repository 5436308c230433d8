"""The KV cache's tensors: keys and values of every block, on the devices and on the host."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from kogpt_bot.generation.checkpoint import release_pages
from kogpt_bot.generation.kernels import Kernels
from kogpt_bot.generation.kv_blocks import BLOCK, Move, Tier
from kogpt_bot.generation.rounding import ACTIVATION_STEPS, QUIET

KEYS, VALUES = 0, 1


class CacheDtype(enum.StrEnum):
    """How keys and values are kept."""

    AUTO = "auto"  # as they are computed
    INT8 = "int8"  # 8 bits a number, one scale a token and head


class LayerCache(Protocol):
    """Keys and values of one layer, by their places in the store."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it has, [2, heads, tokens, ...] each."""
        ...

    def write(self, slots: Tensor, new: Tensor) -> None:
        """Keep `new` [rows, 2, heads, head] in the places `slots` [rows]."""
        ...

    def read(self, half: int, begin: int, length: int) -> Tensor:
        """Return KEYS or VALUES of a run [heads, length, head], as they are computed with."""
        ...

    def gather(self, places: Tensor) -> Tensor:
        """Return keys and values [2, heads, rows, width, head] of `places` [rows, width]."""
        ...

    def look(self, kernels: Kernels, queries: Tensor, out: Tensor, spans: Tensor) -> None:
        """Let compiled loops write what rows see to `out`; see `compiled.look`."""
        ...


class FullCache:
    """Kept as computed: reading a run is a view."""

    def __init__(
        self,
        heads: int,
        head: int,
        tokens: int,
        dtype: torch.dtype,
        device: torch.device | None = None,
        *,
        pinned: bool = False,
    ) -> None:
        size = (2, heads, tokens, head)
        self._numbers = torch.empty(size, dtype=dtype, device=device, pin_memory=pinned)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it has."""
        return (self._numbers,)

    def write(self, slots: Tensor, new: Tensor) -> None:
        """Keep new keys and values."""
        self._numbers.index_copy_(2, slots, new.permute(1, 2, 0, 3))

    def read(self, half: int, begin: int, length: int) -> Tensor:
        """Return a view of a run."""
        return self._numbers[half, :, begin : begin + length]

    def gather(self, places: Tensor) -> Tensor:
        """Return a copy of single places."""
        return self._numbers[:, :, places]

    def look(self, kernels: Kernels, queries: Tensor, out: Tensor, spans: Tensor) -> None:
        """Let the compiled loops read it."""
        kernels.look(self._numbers, queries, out, spans)


class Int8Cache:
    """Kept in bytes, with a scale for each token and head: half of float16, a quarter of float32.

    What is computed with is always what was kept, for the tokens of the same step too: a prefix
    that is reused gives the logits of a fresh one. With `kernels`, compiled loops do the rounding.
    """

    def __init__(
        self,
        heads: int,
        head: int,
        tokens: int,
        dtype: torch.dtype,
        device: torch.device | None = None,
        *,
        pinned: bool = False,
        kernels: Kernels | None = None,
    ) -> None:
        size = (2, heads, tokens)
        self._numbers = torch.empty(
            (*size, head), dtype=torch.int8, device=device, pin_memory=pinned
        )
        self._scales = torch.empty(size, dtype=torch.float32, device=device, pin_memory=pinned)
        self._dtype = dtype
        self._kernels = kernels

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it has."""
        return self._numbers, self._scales

    def write(self, slots: Tensor, new: Tensor) -> None:
        """Keep new keys and values, each rounded to the nearest step of its vector's scale."""
        if self._kernels is not None:
            self._kernels.keep(new, slots, self._numbers, self._scales)
            return
        new = new.permute(1, 2, 0, 3).float()
        scales = (
            torch.maximum(new.amax(-1), new.amin(-1).neg_())
            .clamp_(min=QUIET)
            .div_(ACTIVATION_STEPS)
        )
        steps = (new / scales.unsqueeze(-1)).round_().to(torch.int8)
        self._numbers.index_copy_(2, slots, steps)
        self._scales.index_copy_(2, slots, scales)

    def read(self, half: int, begin: int, length: int) -> Tensor:
        """Return a run as numbers."""
        if self._kernels is not None:
            return self._kernels.widen(self._numbers[half], self._scales[half], begin, length)
        run = slice(begin, begin + length)
        return self._widened(self._numbers[half, :, run], self._scales[half, :, run])

    def gather(self, places: Tensor) -> Tensor:
        """Return single places as numbers."""
        return self._widened(self._numbers[:, :, places], self._scales[:, :, places])

    def look(self, kernels: Kernels, queries: Tensor, out: Tensor, spans: Tensor) -> None:
        """Let the compiled loops read it."""
        kernels.look(self._numbers, queries, out, spans, self._scales)

    def _widened(self, steps: Tensor, scales: Tensor) -> Tensor:
        # In float32 first: a quiet vector's scale is nothing in float16.
        return (steps * scales.unsqueeze(-1)).to(self._dtype)


class KVStore:
    """`layers[n]`: keys and values in layer n, of `blocks` blocks.

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
        kept: CacheDtype = CacheDtype.AUTO,
        kernels: Kernels | None = None,
    ) -> None:
        kind: Callable[..., LayerCache] = FullCache
        if kept is CacheDtype.INT8:
            kind = functools.partial(Int8Cache, kernels=kernels)
        tokens = blocks * BLOCK
        self.layers = [kind(heads, head, tokens, dtype, device) for device in devices]
        pinned = bool(host_blocks) and devices[0].type == "cuda"  # copied without a detour
        self._host = [
            kind(heads, head, host_blocks * BLOCK, dtype, pinned=pinned)
            for _ in (devices if host_blocks else ())
        ]

    @property
    def shrinks(self) -> bool:
        """Whether free blocks can be given back: on a GPU each layer's are one allocation."""
        return all(each.device.type == "cpu" for each in self.layers[0].tensors)

    def carry_out(self, moves: list[Move]) -> None:
        """Copy what the bookkeeping decided, in its order; what was copied leaves the list.

        A move for which memory does not suffice stays in it, and can be tried again. Those before
        it could not: what they began with may be overwritten.
        """
        done = 0
        try:
            for move in moves:
                self._copy(move)
                done += 1
        finally:
            del moves[:done]

    def _copy(self, move: Move) -> None:
        source, target = move.source * BLOCK, move.target * BLOCK
        for number, layer in enumerate(self.layers):
            taken = self._host[number] if move.tier is Tier.IN else layer
            given = self._host[number] if move.tier is Tier.OUT else layer
            for old, new in zip(taken.tensors, given.tensors, strict=True):
                _part(new, target, move.tokens).copy_(
                    _part(old, source, move.tokens), non_blocking=True
                )

    def erase(self, slots: Tensor) -> None:
        """Make nothing of what is kept in some places."""
        for tensor in (each for layer in self.layers for each in layer.tensors):
            tensor[:, :, slots] = 0

    def release(self, free: Sequence[tuple[int, int]]) -> None:
        """Let the system have the memory behind free runs of blocks; a GPU keeps its own."""
        for tensor in (each for layer in self.layers for each in layer.tensors):
            if tensor.device.type != "cpu":
                torch.cuda.empty_cache()
                return
            for begin, length in free:
                for part in tensor.flatten(0, 1):
                    release_pages(part[begin * BLOCK : (begin + length) * BLOCK])


def tensor_bytes(heads: int, head: int, dtype: torch.dtype, kept: CacheDtype) -> tuple[int, ...]:
    """Return the bytes of one token in each of a layer's tensors."""
    if kept is CacheDtype.INT8:
        return 2 * heads * head, 2 * heads * torch.float32.itemsize
    return (2 * heads * head * dtype.itemsize,)


def bytes_per_token(heads: int, head: int, dtype: torch.dtype, kept: CacheDtype) -> int:
    """Return the memory that the keys and values of one token take in one layer."""
    return sum(tensor_bytes(heads, head, dtype, kept))


def pinned_bytes(blocks: int, tensors: Sequence[int]) -> int:
    """Return the memory that so many blocks take in pinned memory in one layer.

    `tensors` are those of `tensor_bytes`. torch's allocator takes a power of two for each
    (CachingHostAllocator.h), up to twice what it is asked for.
    """
    sizes = [blocks * BLOCK * each for each in tensors]
    return sum(1 << (size - 1).bit_length() for size in sizes if size)


def _part(tensor: Tensor, begin: int, tokens: int) -> Tensor:
    return tensor[:, :, begin : begin + tokens]
