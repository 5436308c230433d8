"""Products with int8 weights, compiled by numba, for `kernels.py`.

Memory gives more to several streams than to one, so a weight lies in OUTPUTS parts that are read
side by side: output OUTPUTS t + n is in place t of part n.

Rows are whole numbers of 16 bits, so that a processor multiplies two neighbours
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

Int16 = npt.NDArray[np.int16]

LANES = 32 if binding.get_host_cpu_features().get("avx512bw") else 16  # read at a time
PADDED = 32  # rows and weights are filled up to a multiple of this, whatever LANES is
OUTPUTS = 4  # of a tile, and streams of the memory; written out in places below
ROWS = 4 if LANES == 32 else 2  # of a tile, whose sums stay in 32 registers or 16
STRIP, BAND = 16, 32  # tiles and rows that are multiplied while a cache may hold them
LARGEST_INT16, LARGEST_INT32 = 2**15 - 1, 2**31 - 1

FLOAT, INT, INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(np.dtype(np.intp).itemsize * 8)
BYTES, WORDS, WIDE = (ir.VectorType(ir.IntType(bits), LANES) for bits in (8, 16, 32))
SUM, RESULT = ir.VectorType(INT, LANES // 2), ir.VectorType(FLOAT, OUTPUTS)


def largest_step(size: int, weight_steps: int) -> int:
    """Return the largest number of a row of `size`, so that its sums stay within 32 bits."""
    return min(LARGEST_INT16, LARGEST_INT32 // (weight_steps * size))


class Array:
    """An array as LLVM sees it."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._builder = builder
        self._array = context.make_array(kind)(context, builder, value)
        self.bits = kind.dtype.bitwidth  # of a number

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

    It is called with (steps, row_scales, weight, scales, bias, out, row, tile): `multiply`'s
    arrays, the first row, and which tile of the outputs.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> None:
        *arrays, row, tile = given
        steps, row_scales, weight, scales, bias, out = (
            Array(context, builder, kind, value)
            for kind, value in zip(signature.args, arrays, strict=False)
        )
        down = [builder.add(row, INDEX(each)) for each in range(rows)]
        sums = _summed(builder, steps, weight, down, tile)
        output = builder.mul(tile, INDEX(OUTPUTS))
        for each, own in zip(down, sums, strict=True):
            product = builder.sitofp(_added_up(builder, own), RESULT)
            product = builder.fmul(product, _splat(builder, row_scales.read(FLOAT, each)))
            product = builder.fmul(product, scales.read(RESULT, output))
            product = builder.fadd(product, bias.read(RESULT, output))
            builder.store(product, out.place(RESULT, each, output), align=1)

    @intrinsic
    def tile(
        _: Any, steps: Any, row_scales: Any, weight: Any, scales: Any, bias: Any, out: Any,
        row: Any, tile: Any,
    ) -> Any:  # fmt: skip
        return types.void(steps, row_scales, weight, scales, bias, out, row, tile), generate

    return tile


def _summed(builder: Any, steps: Array, weight: Array, down: Sequence[Any], tile: Any) -> Any:
    """Return a vector of sums for each row of `down` and each output of a tile."""
    start = builder.block
    body, after = (builder.append_basic_block(name) for name in ("body", "after"))
    builder.branch(body)
    builder.position_at_end(body)
    at = builder.phi(INDEX)
    totals = [[builder.phi(SUM) for _ in range(OUTPUTS)] for _ in down]
    parts = [weight.read(BYTES, INDEX(part), tile, at) for part in range(OUTPUTS)]
    weights = [builder.sext(part, WIDE) for part in parts]
    sums = []
    for row, before in zip(down, totals, strict=True):
        numbers = builder.sext(steps.read(WORDS, row, at), WIDE)
        pairs = (_neighbours(builder, builder.mul(numbers, each)) for each in weights)
        sums.append([builder.add(*both) for both in zip(before, pairs, strict=True)])
    following = builder.add(at, INDEX(LANES))
    at.add_incoming(INDEX(0), start)
    at.add_incoming(following, body)
    for before, new in zip(totals, sums, strict=True):
        for total, found in zip(before, new, strict=True):
            total.add_incoming(SUM(None), start)
            total.add_incoming(found, body)
    builder.cbranch(builder.icmp_signed("<", following, weight.width), body, after)
    builder.position_at_end(after)
    return sums


def _neighbours(builder: Any, vector: Any) -> Any:
    """Return the sums of each two neighbours of a vector."""
    even, odd = (range(first, vector.type.count, 2) for first in (0, 1))
    return builder.add(*(_picked(builder, vector, vector, each) for each in (even, odd)))


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


def _splat(builder: Any, number: Any) -> Any:
    empty = ir.Constant(ir.VectorType(number.type, OUTPUTS), ir.Undefined)
    filled = builder.insert_element(empty, number, INT(0))
    return _picked(builder, filled, filled, [0] * OUTPUTS)


_tile_of_rows, _tile_of_one = _tile(ROWS), _tile(1)


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
def multiply(
    steps: Int16, row_scales: Floats, weight: Signed, scales: Floats, bias: Floats, out: Floats,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write tiles [first, last) of `out` [rows, outputs], OUTPUTS numbers of a row each.

    `steps` [rows, size] times `row_scales` [rows]; `weight` [OUTPUTS, tiles, size] times `scales`
    [outputs]; `bias` [outputs]. `size` is a multiple of PADDED.
    """
    for strip in range(first, last, STRIP):
        for band in range(0, len(steps), BAND):
            end = min(band + BAND, len(steps))
            for tile in range(strip, min(strip + STRIP, last)):
                for row in range(band, end - ROWS + 1, ROWS):
                    _tile_of_rows(steps, row_scales, weight, scales, bias, out, row, tile)
                for row in range(end - (end - band) % ROWS, end):
                    _tile_of_one(steps, row_scales, weight, scales, bias, out, row, tile)
