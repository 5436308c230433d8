"""Loops over float32 arrays, compiled for this processor by numba, for `kernels.py`.

What is compiled is kept on disk where numba finds a place that can be written, so that only the
first start pays for it (some seconds).
It knows of each file's own date only: whoever changes here what another of the compiled
files imports touches that one too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from kogpt_bot.generation.operators import CUBE, GELU

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Turns = npt.NDArray[np.complex64]
Signed = npt.NDArray[np.int8]
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Numbers = Floats | Signed

TILE = 64  # tokens whose keys and values stay in the processor's cache while rows look at them
LOWEST = np.float32(-1e30)  # in place of -inf, whose difference to itself is not a number
LOG2_E = np.float32(1 / math.log(2))
HALF, ONE = np.float32(0.5), np.float32(1)
C1, C2, C3, C4, C5, C6 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(1, 7))
SMALLEST, LARGEST = np.float32(-126), np.float32(127)  # exponents of normal float32 numbers
BIAS = np.int32(127)  # of a float32's exponent
MANTISSA = np.int32(23)  # bits

GELU_1, GELU_3 = np.float32(GELU), np.float32(GELU * CUBE)

QUIET_BITS = np.float32(1e-30).view(np.int32)  # a row of zeros is divided by this
UNSIGNED = np.int32(0x7FFF_FFFF)
STEPS = np.float32(127)  # of a byte on each side of zero

# Sums may be taken in any order. NaN and infinity stay what they are: a row with NaN must show it.
RELAXED = {"reassoc", "contract", "nsz", "arcp"}


def compile_loop(function: Callable[..., Any]) -> Any:
    """Compile a function for this processor when it is first called."""
    return _compile(function, fastmath=RELAXED)


def compile_exactly(function: Callable[..., Any]) -> Any:
    """Compile a function whose operations are carried out as they are written: two forms of a loop
    give the same to the last bit."""
    return _compile(function)


def _compile(function: Callable[..., Any], **options: Any) -> Any:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place that can be written: compiled at each start
        return numba.njit(**options)(function)


@compile_loop
def exponential(x: np.float32) -> np.float32:
    """Return exp(x), at least 2^-126 and at most 2^127.

    2^n 2^f: n as the exponent's bits, and for f in [-0.5, 0.5] the series of 2^f, whose seventh
    term is within float32's rounding.
    """
    powers = min(max(x * LOG2_E, SMALLEST), LARGEST)
    whole = np.floor(powers + HALF)
    f = powers - whole
    p = C6 * f + C5
    p = p * f + C4
    p = p * f + C3
    p = p * f + C2
    p = p * f + C1
    power = np.int32((np.int32(whole) + BIAS) << MANTISSA).view(np.float32)
    return np.float32((p * f + ONE) * power)


@compile_loop
def _ask(
    keys: Numbers, scales: Floats | None, head: int, begin: int, query: Floats, scores: Floats
) -> None:
    """Write the products of a query and the keys of a tile.

    Four tokens, a quarter of the tile apart, are read at a time: memory gives more to several
    streams than to one. Without `scales` nothing of them is compiled.
    """
    count, size = keys.shape
    part = count // 4
    for t in range(part):
        a = b = c = d = np.float32(0)
        k0, k1, k2, k3 = keys[t], keys[part + t], keys[2 * part + t], keys[3 * part + t]
        for i in range(size):
            x = query[i]
            a += x * np.float32(k0[i])
            b += x * np.float32(k1[i])
            c += x * np.float32(k2[i])
            d += x * np.float32(k3[i])
        scores[t], scores[part + t], scores[2 * part + t], scores[3 * part + t] = a, b, c, d
    for t in range(4 * part, count):
        a = np.float32(0)
        for i in range(size):
            a += query[i] * np.float32(keys[t, i])
        scores[t] = a
    if scales is not None:
        for t in range(count):
            scores[t] *= scales[0, head, begin + t]


@compile_loop
def _take(
    values: Numbers, scales: Floats | None, head: int, begin: int, weights: Floats, seen: Floats
) -> None:
    """Add the values of a tile to what is seen, each by its weight; four at a time as above."""
    count, size = values.shape
    part = count // 4
    if scales is not None:
        for t in range(count):
            weights[t] *= scales[1, head, begin + t]
    for t in range(part):
        v0, v1, v2, v3 = values[t], values[part + t], values[2 * part + t], values[3 * part + t]
        a, b, c, d = weights[t], weights[part + t], weights[2 * part + t], weights[3 * part + t]
        for i in range(size):
            seen[i] += (
                a * np.float32(v0[i])
                + b * np.float32(v1[i])
                + c * np.float32(v2[i])
                + d * np.float32(v3[i])
            )
    for t in range(4 * part, count):
        a = weights[t]
        for i in range(size):
            seen[i] += a * np.float32(values[t, i])


@compile_loop
def _weigh(
    scores: Floats, count: int, seen: Floats, top: np.float32, total: np.float32
) -> tuple[np.float32, np.float32]:
    """Replace scores by their weights beside what was seen so far, which is made less of.

    Returns the largest score and the sum of weights so far: the softmax is taken along the way
    (Milakov & Gimelshein 2018).
    """
    best = top
    for t in range(count):
        best = max(best, scores[t])
    if best > top:
        less = np.float32(math.exp(top - best))
        total *= less
        for i in range(len(seen)):
            seen[i] *= less
    for t in range(count):
        scores[t] = exponential(scores[t] - best)
        total += scores[t]
    return best, total


@compile_loop
def look(
    cache: Numbers,
    scales: Floats | None,
    queries: Floats,
    out: Floats,
    spans: Places,
    first_head: int,
    last_head: int,
) -> None:
    """Write what rows see, for heads [first_head, last_head).

    `cache` [2, heads, tokens, head], times `scales` [2, heads, tokens] where it is in bytes;
    `queries` and `out` [rows, heads, head]; `spans` [n, 4]: rows [first, last) look at `length`
    tokens from `begin` on.
    """
    rows, _, size = queries.shape
    scale = np.float32(1 / math.sqrt(size))
    tops, totals = np.empty(rows, np.float32), np.empty(rows, np.float32)
    scores = np.empty(TILE, np.float32)
    asked, seen = np.empty((rows, size), np.float32), np.empty((rows, size), np.float32)
    for head in range(first_head, last_head):
        tops[:], totals[:], seen[:] = LOWEST, 0, 0
        for row in range(rows):
            for i in range(size):
                asked[row, i] = queries[row, head, i] * scale
        for span in range(len(spans)):
            first, last, begin, length = spans[span]
            for at in range(begin, begin + length, TILE):
                end = min(at + TILE, begin + length)
                keys, values = cache[0, head, at:end], cache[1, head, at:end]
                for row in range(first, last):
                    _ask(keys, scales, head, at, asked[row], scores)
                    tops[row], totals[row] = _weigh(
                        scores, end - at, seen[row], tops[row], totals[row]
                    )
                    _take(values, scales, head, at, scores, seen[row])
        for row in range(rows):
            for i in range(size):
                out[row, head, i] = seen[row, i] / totals[row]


@compile_loop
def keep(new: Floats, slots: Places, steps: Signed, scales: Floats, first: int, last: int) -> None:
    """Write rows [first, last) of `new` [rows, 2, heads, head] to their places of an int8 cache.

    `steps` [2, heads, tokens, head] and `scales` [2, heads, tokens] are the cache.
    """
    _, halves, heads, size = new.shape
    own = np.empty(size, np.float32)
    bits, scale_bits = own.view(np.int32), scales.view(np.int32)
    for row in range(first, last):
        at = slots[row]
        for half in range(halves):
            for head in range(heads):
                for i in range(size):
                    own[i] = new[row, half, head, i]
                most = QUIET_BITS
                for i in range(size):
                    most = max(most, bits[i] & UNSIGNED)
                scale_bits[half, head, at] = most
                scales[half, head, at] /= STEPS
                factor = np.float32(1) / scales[half, head, at]
                for i in range(size):
                    steps[half, head, at, i] = np.int8(np.int32(np.rint(own[i] * factor)))


@compile_loop
def widen(
    steps: Signed, scales: Floats, out: Floats, begin: int, first_head: int, last_head: int
) -> None:
    """Write the keys or values from `begin` on to `out` [heads, length, head] as numbers."""
    _, length, size = out.shape
    for head in range(first_head, last_head):
        for t in range(length):
            scale = scales[head, begin + t]
            for i in range(size):
                out[head, t, i] = np.float32(steps[head, begin + t, i]) * scale


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
            out[i] = x / (ONE + exponential(-x * (GELU_1 + GELU_3 * x * x)))
