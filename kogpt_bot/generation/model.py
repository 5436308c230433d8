"""GPT-J's forward pass over a KV cache, for several sequences at once.

The block of GPT-J is parallel (Wang & Komatsuzaki 2021, mesh-transformer-jax): attention and MLP
read the same layer norm, so q, k, v and fc_in are one matrix product, and out_proj and fc_out are
one over the concatenation of what attention and MLP give.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kogpt_bot.generation import attention, gpu_kernels, kernels
from kogpt_bot.generation.attention import Segment
from kogpt_bot.generation.cuda_graphs import DecodeGraphs, Flat
from kogpt_bot.generation.kv_store import CacheDtype, KVStore, LayerCache, tensor_bytes
from kogpt_bot.generation.linear import (
    Linear,
    Quantization,
    choose,
    computed_in,
    for_late,
    in_parts,
    prepare,
)
from kogpt_bot.generation.operators import Operators, TorchOperators

FIRST_PART = 4  # layers: they take longer than to tell a GPU of the others (`cuda_graphs.py`)


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a GPT-J model."""

    layers: int
    heads: int
    width: int
    inner: int  # of the MLP
    rotary: int  # leading dimensions of each head that are rotated
    vocabulary: int
    context: int  # tokens
    epsilon: float = 1e-5
    tied: bool = False

    @property
    def head(self) -> int:
        """The size of one head."""
        return self.width // self.heads

    @property
    def layer_parameters(self) -> int:
        """How many numbers the weights of one layer are."""
        return 4 * self.width**2 + 2 * self.width * self.inner + self.inner + 3 * self.width

    @property
    def parameters(self) -> int:
        """How many numbers the weights are."""
        head = self.vocabulary * (1 if self.tied else self.width + 1) + 2 * self.width
        return self.layers * self.layer_parameters + self.vocabulary * self.width + head


@dataclass(slots=True)
class Layer:
    """The weights of one block. `w_in` [3 width + inner, width]: q, k, v, fc_in, in this order;
    `w_out` [width, width + inner]: out_proj, fc_out."""

    norm_weight: Tensor
    norm_bias: Tensor
    w_in: Tensor
    b_in: Tensor  # [3 width + inner]; q, k and v have none: zeros
    w_out: Tensor
    b_out: Tensor  # [width], of fc_out


@dataclass(slots=True)
class Weights:
    """All weights; `head` is `embedding` itself where they are tied."""

    embedding: Tensor  # [vocabulary, width]
    layers: list[Layer]
    norm_weight: Tensor
    norm_bias: Tensor
    head: Tensor  # [vocabulary, width]
    head_bias: Tensor  # [vocabulary]


@dataclass(frozen=True, slots=True)
class Block:
    """What a layer computes with: its norm, and its two products."""

    norm_weight: Tensor
    norm_bias: Tensor
    into: Linear
    out: Linear
    device: torch.device


class GPTJ:
    """The model: flat batches of tokens in, logits out. It takes the weights over."""

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        quantization: Quantization = Quantization.NONE,
        kept: CacheDtype = CacheDtype.AUTO,
        devices: Sequence[torch.device] | None = None,
    ) -> None:
        """`devices` are those of the layers, if the weights are elsewhere (in quantising, they may
        be too large for a GPU as they are)."""
        self.shape = shape
        self.last_layer = 0.0  # monotonic time at which the last layer was computed, or launched
        self.devices = list(devices or (layer.w_in.device for layer in weights.layers))
        self.quantization = quantization
        stored = weights.embedding.dtype
        self.kind = choose(stored, self.devices[-1], quantization)
        self.dtype = computed_in(stored, self.devices[-1], quantization)
        self._kept = kept
        in_cache = torch.int8 if kept is CacheDtype.INT8 else self.dtype
        self._kernels = kernels.find(self.dtype, self.devices[-1], in_cache)
        tried_on = gpu_kernels.weakest(self.devices)
        fused = gpu_kernels.find_operators(
            shape.heads, shape.head, shape.rotary, self.dtype, tried_on, kept
        )
        self._operators: Operators = self._kernels or fused or TorchOperators()
        self._paged = None
        if len(set(self.devices)) == 1:
            self._paged = gpu_kernels.find_paged(
                shape.heads, shape.head, self.dtype, self.devices[0], in_cache
            )
        self._recorded: tuple[KVStore, DecodeGraphs] | None = None
        linear = prepare(self.kind, stored, tried_on, self._kernels)
        after_attention = for_late(linear, shape.width)
        self._embedding = weights.embedding.to(self.devices[0])
        self._blocks: list[Block] = []
        for device, layer in zip(self.devices, weights.layers, strict=True):
            into = linear(layer.w_in.to(device), layer.b_in.to(device))
            layer.w_in = layer.b_in  # laid out anew: the original goes, before the next one
            out = after_attention(layer.w_out.to(device), layer.b_out.to(device))
            layer.w_out = layer.b_in
            norm = layer.norm_weight.to(device, self.dtype), layer.norm_bias.to(device, self.dtype)
            self._blocks.append(Block(*norm, into, out, device))
        last = self.devices[-1]
        self._norm = (
            weights.norm_weight.to(last, self.dtype),
            weights.norm_bias.to(last, self.dtype),
        )
        own = weights.head is not weights.embedding  # a tied one is still looked up in
        head = (weights.head if own else self._embedding).to(last)
        self._head = in_parts(linear, head, weights.head_bias.to(last), give_back=own)
        frequencies = 10_000.0 ** (-torch.arange(0, shape.rotary, 2) / shape.rotary)
        angles = torch.outer(torch.arange(shape.context).float(), frequencies)
        turns = torch.polar(torch.ones_like(angles), angles)  # [context, rotary / 2], complex
        self._turns = {device: turns.to(device) for device in set(self.devices)}

    def new_store(self, blocks: int, host_blocks: int = 0) -> KVStore:
        """Return room for the keys and values of so many blocks; graphs serve the last one."""
        shape = self.shape
        spare = int(self._paged is not None)  # a block for the rows that fill a graph up
        store = KVStore(
            shape.heads, shape.head, blocks + spare, self.dtype, self.devices, host_blocks,
            self._kept, self._kernels,
        )  # fmt: skip
        if self._paged is not None:
            graphs = DecodeGraphs(
                functools.partial(self._decode, store),
                self._paged,
                self.devices[0],
                shape.context,
                shape.vocabulary,
                spare=blocks,
                erase=store.erase,
            )
            self._recorded = store, graphs
        return store

    @property
    def asynchronous(self) -> bool:
        """Whether `forward` returns before the device is done."""
        return self.devices[0].type == "cuda"

    @property
    def cache_tensors(self) -> tuple[int, ...]:
        """The bytes of one token in each tensor that the cache has for a layer."""
        return tensor_bytes(self.shape.heads, self.shape.head, self.dtype, self._kept)

    @property
    def cache_bytes_per_token(self) -> int:
        """How much memory the keys and values of one token take."""
        return self.shape.layers * sum(self.cache_tensors)

    @property
    def weight_bytes(self) -> int:
        """How many bytes of weights one token reads; of the embedding it reads a row."""
        shape = self.shape
        read = shape.parameters - shape.vocabulary * shape.width * (not shape.tied)
        return read * (
            1 if self.quantization is Quantization.INT8 else self._embedding.dtype.itemsize
        )

    @torch.inference_mode()
    def forward(
        self,
        store: KVStore,
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        segments: Sequence[Segment],
    ) -> Tensor:
        """Run one step and return the logits [wanted rows, vocabulary] in float32.

        `tokens`, `positions` and `slots` (where in the store the keys and values of each are
        written) are flat [n], on the CPU. Segments are in the order of their rows.
        """
        if self._recorded is not None and store is self._recorded[0]:
            logits = self._recorded[1].run((tokens, positions, slots), segments)
            if logits is not None:
                return logits
        hidden = F.embedding(tokens.to(self._embedding.device), self._embedding).to(self.dtype)
        wanted = torch.cat(
            [torch.arange(s.row + s.length - s.want, s.row + s.length) for s in segments]
        )
        rows = wanted.to(self.devices[-1])  # here, since a copy waits for what was launched
        device, made, turns, added = None, attention.Plan(), hidden, None
        for block, cache in zip(self._blocks, store.layers, strict=True):
            if block.device != device:  # the first, or the first of another GPU
                device = block.device
                hidden, slots = hidden.to(device), slots.to(device)
                added = None if added is None else added.to(device)
                turns = self._turns[device][positions.to(device)]
                made = attention.plan(segments, self.dtype, device, self._kernels, self._paged)
            hidden, added = self._layer(block, cache, hidden, added, turns, slots, made)
            self.last_layer = time.monotonic()  # a step may take seconds on a CPU
        if not len(wanted):  # chunks of prompts that are not their last
            return hidden.new_empty(0, self.shape.vocabulary, dtype=torch.float32)
        return self._logits(hidden[rows], None if added is None else added[rows])

    def _decode(
        self, store: KVStore, flat: Flat, made: attention.Plan
    ) -> Generator[None, None, Tensor]:
        """Run a step whose parts are all on the one device: what CUDA graphs record."""
        tokens, positions, slots = flat
        hidden, added = F.embedding(tokens, self._embedding).to(self.dtype), None
        turns = self._turns[self._blocks[0].device][positions]
        for number, (block, cache) in enumerate(zip(self._blocks, store.layers, strict=True)):
            if number == FIRST_PART:
                yield
            hidden, added = self._layer(block, cache, hidden, added, turns, slots, made)
        return self._logits(hidden, added)

    def _logits(self, hidden: Tensor, added: Tensor | None) -> Tensor:
        _, normed = self._operators.norm(hidden, added, *self._norm, self.shape.epsilon)
        return self._head(normed).float()

    def _layer(
        self,
        block: Block,
        cache: LayerCache,
        hidden: Tensor,
        added: Tensor | None,
        turns: Tensor,
        slots: Tensor,
        made: attention.Plan,
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of what came before, and what this layer adds to it."""
        shape, operators = self.shape, self._operators
        norm = block.norm_weight, block.norm_bias, shape.epsilon
        hidden, normed = operators.norm(hidden, added, *norm)
        joined = block.into(normed)
        both = joined.new_empty(joined.shape[0], shape.width + shape.inner)
        queries = operators.spread(joined, turns, slots, cache, both, shape.heads)
        attended = both[:, : shape.width].view(-1, shape.heads, shape.head)
        attention.attend(cache, queries, attended, made)
        return hidden, block.out(both)
