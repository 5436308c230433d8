"""What lies between the products of a GPT-J layer, as torch's operators do it.

`kernels.Kernels` does part of it in compiled loops, `triton_operators.TritonOperators` on a GPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:  # which needs these in turn
    from kogpt_bot.generation.kv_store import LayerCache

GELU = 2 * math.sqrt(2 / math.pi)
CUBE = 0.044715


class Operators(Protocol):
    """What a layer does to flat batches before its first product, and between the two."""

    def norm(
        self, hidden: Tensor, added: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        """Return hidden + added [rows, width], in the place of either, and its layer norm."""
        ...

    def spread(
        self,
        joined: Tensor,
        turns: Tensor,
        slots: Tensor,
        cache: LayerCache,
        both: Tensor,
        heads: int,
    ) -> Tensor:
        """Spread what the first product gives to where it is wanted; return the queries.

        `joined` [rows, 3 width + inner]: q, k, v and the MLP's hidden numbers, may be overwritten.
        q and k are rotated by `turns` [rows, pairs], complex: neighbouring pairs at the beginning
        of each head (GPT-J's way). k and v go to `cache`, to `slots` [rows]; GPT-J's GELU of the
        hidden numbers to the end of `both` [rows, width + inner], what the second product takes.
        The queries are [rows, heads, head].
        """
        ...


class TorchOperators:
    """Torch's own, on any device and in any precision."""

    def norm(
        self, hidden: Tensor, added: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        """Return the sum, and its layer norm."""
        hidden = hidden if added is None else added.add_(hidden)
        return hidden, F.layer_norm(hidden, weight.shape, weight, bias, epsilon)

    def spread(
        self,
        joined: Tensor,
        turns: Tensor,
        slots: Tensor,
        cache: LayerCache,
        both: Tensor,
        heads: int,
    ) -> Tensor:
        """Rotate in place, keep, and take the GELU; return the queries."""
        rows, width = joined.shape[0], (joined.shape[1] - both.shape[1]) // 2
        self.rotate(joined, turns, 2 * heads, width // heads)
        parts = joined[:, : 3 * width].view(rows, 3, heads, width // heads)
        cache.write(slots, parts[:, 1:])
        self.gelu(joined, both, width)
        return parts[:, 0]

    def rotate(self, joined: Tensor, turns: Tensor, parts: int, size: int) -> None:
        """Rotate the beginning of each of the first `parts` parts of a row, `size` numbers each, in
        place; in half precision the product is float32's."""
        heads = joined[:, : parts * size].view(-1, parts, size)
        pairs = heads[:, :, : 2 * turns.shape[1]].view(-1, parts, turns.shape[1], 2)
        turns = turns.unsqueeze(1)
        if joined.dtype is torch.float32:
            torch.view_as_complex(pairs).mul_(turns)
        else:
            turned = torch.view_as_complex(pairs.float()).mul_(turns)
            pairs.copy_(torch.view_as_real(turned))

    def gelu(self, joined: Tensor, both: Tensor, width: int) -> None:
        """Write the GELU of what follows 3 width to what follows `width`.

        x (1 + tanh(z)) / 2 = x sigmoid(2 z), z = sqrt(2/pi) (x + 0.044715 x^3).

        A CPU computes the sigmoid twice as fast as torch's own form with the hyperbolic tangent.
        """
        given, out = joined[:, 3 * width :], both[:, width:]
        if given.device.type != "cpu" or given.dtype is not torch.float32:
            out.copy_(F.gelu(given, approximate="tanh"))
            return
        torch.addcmul(given.new_full((), GELU), given, given, value=GELU * CUBE, out=out)
        out.mul_(given).sigmoid_().mul_(given)
