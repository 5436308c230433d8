"""Products that wait for the memory, compiled by numba. Imported by `kernels.py` alone.

Memory gives more to several streams than to one, so a weight lies in OUTPUTS parts that are read
side by side: output OUTPUTS t + n is in place t of part n.

With int8 weights rows are whole numbers of 16 bits, so that a processor multiplies two neighbours
and adds both to a sum of 32 bits in one or two instructions (x86: vpmaddwd, with VNNI vpdpwssd).
The sums are exact, in whatever order they are taken. Loops in Python do not become these
instructions where several rows share a weight, hence the innermost one is in LLVM's language.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kogpt_bot.generation.compiled import (
    QUIET_BITS,
    UNSIGNED,
    Floats,
    Signed,
    compile_exactly,
    compile_loop,
)

Words = npt.NDArray[np.int16]

STRIP, BAND = 16, 32  # tiles and rows that are multiplied while the nearest caches hold them
LARGEST_WORD = 2**15 - 1
LARGEST_SUM = 2**31 - 1


def _lanes() -> int:
    try:
        wide = binding.get_host_cpu_features().get("avx512bw")
    except RuntimeError:  # not an x86, not an ARM
        wide = False
    return 32 if wide else 16


LANES = _lanes()  # numbers that are read at a time
ROWS, OUTPUTS = 4 if LANES == 32 else 2, 4  # of a tile: its sums stay in 32 registers or 16
INT, FLOAT = ir.IntType(32), ir.FloatType()
INDEX = ir.IntType(np.dtype(np.intp).itemsize * 8)


def word_steps(size: int, weight_steps: int) -> int:
    """Return how many steps a word may have on each side of zero, for `size` of them to add up."""
    return min(LARGEST_WORD, LARGEST_SUM // (weight_steps * size))


class _Array:
    """An array as LLVM sees it."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._builder = builder
        self._array = context.make_array(kind)(context, builder, value)

    @property
    def width(self) -> Any:
        """The size of the last axis."""
        shape = self._array.shape
        return self._builder.extract_value(shape, shape.type.count - 1)

    def place(self, kind: Any, *axes: Any) -> Any:
        """Return a pointer to a vector of `kind` that begins there."""
        begin = self._builder.bitcast(self._array.data, cgutils.voidptr_t)
        for axis, at in enumerate(axes):
            stride = self._builder.extract_value(self._array.strides, axis)
            begin = self._builder.gep(begin, [self._builder.mul(at, stride)])
        return self._builder.bitcast(begin, kind.as_pointer())

    def read(self, kind: Any, *axes: Any) -> Any:
        """Return a vector of `kind`."""
        return self._builder.load(self.place(kind, *axes), align=1)


def _tile(rows: int) -> Any:
    """Return a function that writes a tile of the product: OUTPUTS numbers of each of `rows`.

    It is called with (words, by, weight, scales, bias, out, row, number): `multiply`'s arrays, the
    first row, and which tile of the outputs.
    """
    wide, sum_ = ir.VectorType(INT, LANES), ir.VectorType(INT, LANES // 2)
    bytes_, words_ = (ir.VectorType(ir.IntType(bits), LANES) for bits in (8, 16))
    result = ir.VectorType(FLOAT, OUTPUTS)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> None:
        *arrays, row, number = given
        words, by, weight, scales, bias, out = (
            _Array(context, builder, kind, value)
            for kind, value in zip(signature.args, arrays, strict=False)
        )
        down = [builder.add(row, INDEX(each)) for each in range(rows)]
        start = builder.block
        body, after = (builder.append_basic_block(name) for name in ("body", "after"))
        builder.branch(body)

        builder.position_at_end(body)
        at = builder.phi(INDEX)
        totals = [[builder.phi(sum_) for _ in range(OUTPUTS)] for _ in down]
        numbers = [
            builder.sext(weight.read(bytes_, INDEX(each), number, at), wide)
            for each in range(OUTPUTS)
        ]
        sums = []
        for each, own in zip(down, totals, strict=True):
            word = builder.sext(words.read(words_, each, at), wide)
            pairs = (_neighbours(builder, builder.mul(word, number)) for number in numbers)
            sums.append([builder.add(*both) for both in zip(own, pairs, strict=True)])
        following = builder.add(at, INDEX(LANES))
        at.add_incoming(INDEX(0), start)
        at.add_incoming(following, body)
        for own, new in zip(totals, sums, strict=True):
            for total, found in zip(own, new, strict=True):
                total.add_incoming(sum_(None), start)
                total.add_incoming(found, body)
        builder.cbranch(builder.icmp_signed("<", following, weight.width), body, after)

        builder.position_at_end(after)
        output = builder.mul(number, INDEX(OUTPUTS))
        for each, own in zip(down, sums, strict=True):
            product = builder.sitofp(_added_up(builder, own), result)
            product = builder.fmul(product, _four_times(builder, by.read(FLOAT, each)))
            product = builder.fmul(product, scales.read(result, output))
            product = builder.fadd(product, bias.read(result, output))
            builder.store(product, out.place(result, each, output), align=1)

    @intrinsic
    def tile(
        _: Any, words: Any, by: Any, weight: Any, scales: Any, bias: Any, out: Any, row: Any,
        number: Any,
    ) -> Any:  # fmt: skip
        return types.void(words, by, weight, scales, bias, out, row, number), generate

    return tile


def _neighbours(builder: Any, vector: Any) -> Any:
    """Return the sums of each two neighbours of a vector."""
    even, odd = (range(first, vector.type.count, 2) for first in (0, 1))
    return builder.add(
        _picked(builder, vector, vector, even), _picked(builder, vector, vector, odd)
    )


def _added_up(builder: Any, four: Sequence[Any]) -> Any:
    """Return the sums of four vectors as one vector, all four taken at once."""

    def joined(first: Any, second: Any) -> Any:
        return _neighbours(builder, _picked(builder, first, second, range(2 * first.type.count)))

    first, second, third, fourth = four
    found = joined(joined(first, second), joined(third, fourth))
    while found.type.count > OUTPUTS:
        found = _neighbours(builder, found)
    return found


def _picked(builder: Any, first: Any, second: Any, places: Sequence[int]) -> Any:
    mask = ir.VectorType(INT, len(places))
    return builder.shuffle_vector(first, second, ir.Constant(mask, list(places)))


def _four_times(builder: Any, number: Any) -> Any:
    empty = ir.Constant(ir.VectorType(number.type, OUTPUTS), ir.Undefined)
    filled = builder.insert_element(empty, number, INT(0))
    return _picked(builder, filled, filled, [0] * OUTPUTS)


_tile_of_rows, _tile_of_one = _tile(ROWS), _tile(1)


@compile_loop
def to_words(rows: Floats, words: Words, by: Floats, steps: int, first: int, last: int) -> None:
    """Write rows [first, last) [.., size] as words of `steps` on each side of zero, and what a step
    is; what `words` has beyond `size` are zeros.

    The largest is found among the bits: without their sign they are ordered as the numbers are,
    NaN above all, and whole numbers are compared many at a time.
    """
    bits, size = rows.view(np.int32), rows.shape[1]
    for row in range(first, last):
        most = QUIET_BITS
        for i in range(size):
            most = max(most, bits[row, i] & UNSIGNED)
        by.view(np.int32)[row] = most
        by[row] /= np.float32(steps)
        factor = np.float32(1) / by[row]
        for i in range(size):
            words[row, i] = np.int16(np.int32(np.rint(rows[row, i] * factor)))
        words[row, size:] = 0


@compile_exactly
def multiply(
    words: Words, by: Floats, weight: Signed, scales: Floats, bias: Floats, out: Floats,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write tiles [first, last) of `out` [rows, outputs], OUTPUTS numbers of a row each.

    `words` [rows, size] times `by` [rows]; `weight` [OUTPUTS, tiles, size], of which [n, t] is
    output OUTPUTS t + n, times `scales` [outputs]; `bias` [outputs]. `size` is a multiple of LANES.
    """
    for strip in range(first, last, STRIP):
        for band in range(0, len(words), BAND):
            end = min(band + BAND, len(words))
            for number in range(strip, min(strip + STRIP, last)):
                for row in range(band, end - ROWS + 1, ROWS):
                    _tile_of_rows(words, by, weight, scales, bias, out, row, number)
                for row in range(end - (end - band) % ROWS, end):
                    _tile_of_one(words, by, weight, scales, bias, out, row, number)


@compile_loop
def multiply_row(
    row: Floats, weight: Floats, bias: Floats, out: Floats, first: int, last: int
) -> None:
    """Write tiles [first, last) of `out` [outputs] for one row [size] of float32 numbers.

    `weight` [OUTPUTS, tiles, size] and `bias` [outputs] as in `multiply`.
    """
    for number in range(first, last):
        w0, w1, w2, w3 = weight[0, number], weight[1, number], weight[2, number], weight[3, number]
        a = b = c = d = np.float32(0)
        for i in range(len(row)):
            x = row[i]
            a += x * w0[i]
            b += x * w1[i]
            c += x * w2[i]
            d += x * w3[i]
        at = OUTPUTS * number
        out[at], out[at + 1], out[at + 2], out[at + 3] = (
            a + bias[at], b + bias[at + 1], c + bias[at + 2], d + bias[at + 3],
        )  # fmt: skip
