"""What lies between a layer's products, compiled by numba. Imported by `kernels.py` alone.

Torch's own operators do the same; for a few rows their calls take longer than their work.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from kogpt_bot.generation.compiled import ONE, Floats, compile_loop, exponential

Turns = npt.NDArray[np.complex64]

GELU = np.float32(2 * math.sqrt(2 / math.pi))
GELU_CUBE = np.float32(GELU * 0.044715)


@compile_loop
def rotate(joined: Floats, turns: Turns, parts: int, size: int, first: int, last: int) -> None:
    """Turn the leading neighbours of each of the first `parts` parts of `size` numbers in a row.

    `turns` [rows, pairs] is how far.
    """
    for row in range(first, last):
        turn = turns[row]
        for part in range(parts):
            pairs = joined[row, part * size :][: 2 * len(turn)].view(np.complex64)
            for pair in range(len(turn)):
                pairs[pair] *= turn[pair]


@compile_loop
def gelu(joined: Floats, both: Floats, width: int, first: int, last: int) -> None:
    """Write GPT-J's GELU of `joined` [.., 3 width + inner] to `both` [.., width + inner].

    x (1 + tanh(z)) / 2 = x / (1 + exp(-2 z)), z = sqrt(2/pi) (x + 0.044715 x^3).
    """
    for row in range(first, last):
        given, out = joined[row, 3 * width :], both[row, width:]
        for i in range(len(given)):
            x = given[i]
            out[i] = x / (ONE + exponential(-x * (GELU + GELU_CUBE * x * x)))
