"""Numbers in 8 bits: activations, and weights part by part."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kogpt_bot.generation.checkpoint import release_pages

PART_BYTES = 32 << 20  # of a weight that is laid out in parts
ACTIVATION_STEPS = 127  # of an int8 activation on each side of zero
ACTIVATION_ZERO = 128
QUIET = 1e-30  # a row of zeros is divided by this


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [n, size] as bytes around ACTIVATION_ZERO, and the largest number of each."""
    # Two maxima: a maximum of absolutes is not vectorised in one go, and 20 times slower.
    largest = torch.maximum(rows.amax(-1, keepdim=True), rows.amin(-1, keepdim=True).neg_())
    largest.clamp_(min=QUIET)
    steps = rows * (ACTIVATION_STEPS / largest)
    return steps.add_(ACTIVATION_ZERO + 0.5).to(torch.uint8), largest


def rounded_weight(weight: Tensor, steps: int, *, give_back: bool) -> tuple[Tensor, Tensor]:
    """Return a weight [out, in] in int8, and the scale of each output [out] in float32.

    With `give_back` the memory of `weight` is the system's again, part by part.
    """
    rounded = torch.empty_like(weight, dtype=torch.int8)
    scales = torch.empty(len(weight), device=weight.device)
    for begin, part in parts_of(weight):
        each = part.float().abs().amax(dim=1).clamp_(min=QUIET) / steps
        rounded[begin : begin + len(part)] = (part.float() / each.unsqueeze(1)).round_()
        scales[begin : begin + len(part)] = each
        if give_back:
            release_pages(part)
    return rounded, scales


def parts_of(weight: Tensor, most: int = PART_BYTES) -> Iterator[tuple[int, Tensor]]:
    """Give parts of a weight, of so many bytes at most, and where each begins."""
    size = max(1, most // weight[0].nbytes)
    for begin in range(0, len(weight), size):
        yield begin, weight[begin : begin + size]
