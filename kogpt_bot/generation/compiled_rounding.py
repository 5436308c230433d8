"""Rows in whole numbers, and back, compiled by numba, for `kernels.py`.

Their product with int8 weights is exact, in whatever order it is added up.
"""

from __future__ import annotations

import numpy as np

from kogpt_bot.generation.compiled import (
    QUIET_BITS,
    UNSIGNED,
    Floats,
    Int16,
    Int32,
    compile_exactly,
    compile_loop,
)

LARGEST_INT16, LARGEST_INT32 = 2**15 - 1, 2**31 - 1


def largest_step(size: int, weight_steps: int) -> int:
    """Return the largest number of a row of `size`, so that its sums stay within 32 bits."""
    return min(LARGEST_INT16, LARGEST_INT32 // (weight_steps * size))


@compile_loop
def to_int16(
    rows: Floats, steps: Int16, row_scales: Floats, largest: int, first: int, last: int
) -> None:
    """Write rows [first, last) [.., size] as whole numbers up to `largest` on each side of zero,
    and what a step of each row is; what `steps` has beyond `size` are zeros.

    The largest is found among the bits: without their sign they are ordered as the numbers are,
    NaN above all, and whole numbers are compared many at a time.
    """
    bits, size = rows.view(np.int32), rows.shape[1]
    for row in range(first, last):
        most = QUIET_BITS
        for i in range(size):
            most = max(most, bits[row, i] & UNSIGNED)
        row_scales.view(np.int32)[row] = most
        row_scales[row] /= np.float32(largest)
        factor = np.float32(1) / row_scales[row]
        for i in range(size):
            steps[row, i] = np.int16(np.int32(np.rint(rows[row, i] * factor)))
        steps[row, size:] = 0


@compile_exactly
def scale(
    sums: Int32, row_scales: Floats, scales: Floats, bias: Floats, first: int, last: int
) -> None:
    """Write columns [first, last) of a product in whole numbers, `sums` [rows, outputs], as float32
    numbers in their place: times `row_scales` [rows] and `scales` [outputs], plus `bias` [outputs].
    """
    out = sums.view(np.float32)
    for row in range(len(sums)):
        for at in range(first, last):
            out[row, at] = np.float32(sums[row, at]) * row_scales[row] * scales[at] + bias[at]
