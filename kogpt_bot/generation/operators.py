"""What lies between the products of a GPT-J layer, as torch's operators do it.

`kernels.Kernels` does the same in compiled loops.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

GELU = 2 * math.sqrt(2 / math.pi)
CUBE = 0.044715


class Operators(Protocol):
    """Rotation and GELU of flat batches, where a layer has its numbers.

    `joined` [rows, 3 width + inner] is what the first product gives: q, k, v and the MLP's hidden
    numbers; `both` [rows, width + inner] what the second one takes: what attention saw, and those.
    """

    def rotate(self, joined: Tensor, turns: Tensor, parts: int, size: int) -> None:
        """Rotate neighbouring pairs at the beginning of each of the first `parts` parts of a row
        (GPT-J's way), in place. `size` is a part's, `turns` [rows, pairs] complex."""
        ...

    def gelu(self, joined: Tensor, both: Tensor, width: int) -> None:
        """Write GPT-J's GELU of what follows 3 width to what follows `width`."""
        ...


class TorchOperators:
    """Torch's own, on any device and in any precision."""

    def rotate(self, joined: Tensor, turns: Tensor, parts: int, size: int) -> None:
        """Rotate; in half precision the product is float32's."""
        heads = joined[:, : parts * size].view(-1, parts, size)
        pairs = heads[:, :, : 2 * turns.shape[1]].view(-1, parts, turns.shape[1], 2)
        turns = turns.unsqueeze(1)
        if joined.dtype is torch.float32:
            torch.view_as_complex(pairs).mul_(turns)
        else:
            turned = torch.view_as_complex(pairs.float()).mul_(turns)
            pairs.copy_(torch.view_as_real(turned))

    def gelu(self, joined: Tensor, both: Tensor, width: int) -> None:
        """Write the GELU: x (1 + tanh(z)) / 2 = x sigmoid(2 z), z = sqrt(2/pi) (x + 0.044715 x^3).

        A CPU computes the sigmoid twice as fast as torch's own form with the hyperbolic tangent.
        """
        given, out = joined[:, 3 * width :], both[:, width:]
        if given.device.type != "cpu" or given.dtype is not torch.float32:
            out.copy_(F.gelu(given, approximate="tanh"))
            return
        torch.addcmul(given.new_full((), GELU), given, given, value=GELU * CUBE, out=out)
        out.mul_(given).sigmoid_().mul_(given)
