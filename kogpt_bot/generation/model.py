"""GPT-J's forward pass over a KV cache, for several sequences at once.

The block of GPT-J is parallel (Wang & Komatsuzaki 2021, mesh-transformer-jax): attention and MLP
read the same layer norm, so q, k, v and fc_in are one matrix product, and out_proj and fc_out are
one over the concatenation of what attention and MLP give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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
    def parameters(self) -> int:
        """How many numbers the weights are."""
        block = 4 * self.width**2 + 2 * self.width * self.inner + self.inner + 3 * self.width
        head = self.vocabulary * (1 if self.tied else self.width + 1) + 2 * self.width
        return self.layers * block + self.vocabulary * self.width + head


@dataclass(slots=True)
class Layer:
    """The weights of one block. `w_in` [3 width + inner, width]: q, k, v, fc_in, in this order;
    `w_out` [width, width + inner]: out_proj, fc_out."""

    norm_weight: Tensor
    norm_bias: Tensor
    w_in: Tensor
    b_in: Tensor  # [inner], of fc_in; q, k and v have none
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


class SlotCache:
    """Keys and values of one sequence: each [layers, heads, capacity, head]."""

    def __init__(
        self, shape: Shape, capacity: int, dtype: torch.dtype, devices: Sequence[torch.device]
    ) -> None:
        size = (shape.heads, capacity, shape.head)
        self.keys = [torch.empty(size, dtype=dtype, device=device) for device in devices]
        self.values = [torch.empty(size, dtype=dtype, device=device) for device in devices]

    def copy_from(self, other: SlotCache, tokens: int) -> None:
        """Take over the first `tokens` tokens of another sequence."""
        for mine, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            mine[:, :tokens].copy_(theirs[:, :tokens])


@dataclass(frozen=True, slots=True)
class Segment:
    """The tokens of one sequence in a step: rows [row, row + length) of the flat batch, which
    stand at [start, start + length) of the sequence. `want` rows at its end need logits."""

    cache: SlotCache
    row: int
    length: int
    start: int
    want: int


class GPTJ:
    """The model: flat batches of tokens in, logits out."""

    def __init__(self, shape: Shape, weights: Weights) -> None:
        self.shape = shape
        self.weights = weights
        self.dtype = weights.embedding.dtype
        self.devices = [layer.w_in.device for layer in weights.layers]
        frequencies = 10_000.0 ** (-torch.arange(0, shape.rotary, 2) / shape.rotary)
        angles = torch.outer(torch.arange(shape.context).float(), frequencies)
        tables = torch.stack([angles.cos(), angles.sin()])  # [2, context, rotary / 2]
        self._rotary = {device: tables.to(device, self.dtype) for device in set(self.devices)}

    def new_cache(self, capacity: int) -> SlotCache:
        """Return room for the keys and values of `capacity` tokens."""
        return SlotCache(self.shape, capacity, self.dtype, self.devices)

    @property
    def cache_bytes_per_token(self) -> int:
        """How much memory the keys and values of one token take."""
        return 2 * self.shape.layers * self.shape.width * self.dtype.itemsize

    @torch.inference_mode()
    def forward(self, tokens: Tensor, positions: Tensor, segments: Sequence[Segment]) -> Tensor:
        """Run one step and return the logits [wanted rows, vocabulary] in float32.

        `tokens` and `positions` are flat [n], on the CPU; the keys and values of all of them are
        written to the caches.
        """
        weights = self.weights
        hidden = F.embedding(tokens.to(weights.embedding.device), weights.embedding)
        for index, layer in enumerate(weights.layers):
            hidden = self._block(index, layer, hidden, positions, segments)
        rows = torch.cat(
            [torch.arange(s.row + s.length - s.want, s.row + s.length) for s in segments]
        )
        wanted = hidden.to(weights.norm_weight.device)[rows.to(weights.norm_weight.device)]
        wanted = F.layer_norm(
            wanted, (self.shape.width,), weights.norm_weight, weights.norm_bias, self.shape.epsilon
        )
        return F.linear(wanted, weights.head, weights.head_bias).float()

    def _block(
        self,
        index: int,
        layer: Layer,
        hidden: Tensor,
        positions: Tensor,
        segments: Sequence[Segment],
    ) -> Tensor:
        shape, device = self.shape, layer.w_in.device
        hidden = hidden.to(device)
        normed = F.layer_norm(
            hidden, (shape.width,), layer.norm_weight, layer.norm_bias, shape.epsilon
        )
        joined = F.linear(normed, layer.w_in)
        qkv, inner = torch.split(joined, [3 * shape.width, shape.inner], dim=-1)
        q, k, v = qkv.view(-1, 3, shape.heads, shape.head).unbind(1)  # each [n, heads, head]
        cos, sin = self._rotary[device][:, positions.to(device)].unsqueeze(2)
        self._rotate(q, cos, sin)
        self._rotate(k, cos, sin)
        attended = torch.empty_like(q)
        for segment in segments:
            self._attend(index, segment, q, k, v, attended)
        active = F.gelu(inner + layer.b_in, approximate="tanh")
        both = torch.cat([attended.view(-1, shape.width), active], dim=-1)
        return hidden + F.linear(both, layer.w_out, layer.b_out)

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotate neighbouring pairs of the leading dimensions, in place (GPT-J's way)."""
        pairs = x[..., : self.shape.rotary].view(*x.shape[:-1], -1, 2)
        even, odd = pairs[..., 0], pairs[..., 1]
        rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
        x[..., : self.shape.rotary] = rotated.flatten(-2)

    @staticmethod
    def _attend(index: int, segment: Segment, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
        """Write the segment's keys and values, and let its queries look at all before them."""
        rows = slice(segment.row, segment.row + segment.length)
        end = segment.start + segment.length
        keys, values = segment.cache.keys[index], segment.cache.values[index]
        keys[:, segment.start : end] = k[rows].transpose(0, 1)
        values[:, segment.start : end] = v[rows].transpose(0, 1)
        mask = None
        if segment.length > 1 and segment.start:
            mask = torch.ones(segment.length, end, dtype=torch.bool, device=q.device)
            mask = mask.tril(diagonal=segment.start)
        attended = F.scaled_dot_product_attention(
            q[rows].transpose(0, 1).unsqueeze(0),
            keys[:, :end].unsqueeze(0),
            values[:, :end].unsqueeze(0),
            attn_mask=mask,
            is_causal=segment.length > 1 and not segment.start,
        )
        out[rows] = attended[0].transpose(0, 1)
