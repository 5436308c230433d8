"""Products compiled by numba, for `kernels.py`: float32 rows with float32 or float16 weights, and
whole numbers (`compiled_rounding.py`).

A weight lies in panels of WIDTH outputs, one number of each after the other, as a tile reads them
(Goto and van de Geijn 2008): a number of a row is multiplied with two vectors of weights at a time,
for up to ROWS rows, and the sums stay in registers. Few rows wait for the memory, which gives more
to several streams than to one: they read two or four panels side by side.

Every sum is taken in the same order, whatever tile it is part of: a row's result is the same to the
last bit alone, in company, and for any number of threads. numba's own loops keep no such sums in
registers, hence the innermost one is in LLVM's language.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kogpt_bot.generation.compiled import Floats, Int16, Int32, Signed, compile_exactly

LANES = 16 if binding.get_host_cpu_features().get("avx512bw") else 8  # of a vector of 32 bits each
WIDTH = 2 * LANES  # outputs of a panel
ROWS = 12 if LANES == 16 else 6  # of a tile, whose sums stay in 32 registers or 16
BAND = 96  # rows that are multiplied while a near cache holds their part
DEPTH = 512  # places of a row that are added up at a time: its part of a panel stays near, too
FEW, FEW_SMALL = 4, 2  # rows that read two panels at a time; smaller weights are waited for less

X86 = ("x86_64", "AMD64")

FLOAT, INT, INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(np.dtype(np.intp).itemsize * 8)
VECTOR, HALVES = ir.VectorType(FLOAT, LANES), ir.VectorType(ir.HalfType(), LANES)
SUMS = ir.VectorType(INT, LANES)
PAIR = 2  # neighbours of a row that are multiplied in one
STEPS, WORDS, WIDE = (ir.VectorType(ir.IntType(bits), PAIR * LANES) for bits in (8, 16, 32))
BYTE = ir.IntType(8)
HALF = 16  # bits of float16
LINE = 64  # bytes of a cache's line
FUSED = f"llvm.fma.v{LANES}f32"


def serves(bits: int) -> bool:
    """Whether this processor multiplies and adds in one, and widens weights of `bits`; elsewhere
    each number would be a call, or there would be nothing to call."""
    if platform.machine() not in X86:
        return True
    features = binding.get_host_cpu_features()
    return bool(features.get("fma")) and (bits != HALF or bool(features.get("f16c")))


class _Array:
    """An array as LLVM sees it."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._builder = builder
        self._array = context.make_array(kind)(context, builder, value)
        self.bits = kind.dtype.bitwidth  # of a number

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


class _Numbers(Protocol):
    """What is multiplied, and how."""

    sums: Any  # LLVM's type of LANES of them
    together: int  # numbers of a row in one place of it

    def weights(self, builder: Any, weight: _Array, panel: Any, at: Any, half: int) -> Any:
        """Return a vector of a panel's weights, one of its two halves."""
        ...

    def multiplied(self, builder: Any, place: Any, weights: Any, total: Any) -> Any:
        """Return `total` and the product of a vector of one place of a row and one of weights."""
        ...

    def added(self, builder: Any, one: Any, other: Any) -> Any:
        """Return the sums of both."""
        ...


class _Floats:
    """float32 rows; weights in float32, or in float16, which numba takes for whole numbers."""

    sums, together = VECTOR, 1

    def weights(self, builder: Any, weight: _Array, panel: Any, at: Any, half: int) -> Any:
        where = panel, at, INDEX(half * LANES)
        if weight.bits == HALF:
            return builder.fpext(weight.read(HALVES, *where), VECTOR)
        return weight.read(VECTOR, *where)

    def multiplied(self, builder: Any, place: Any, weights: Any, total: Any) -> Any:
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        fused = builder.module.globals.get(FUSED) or ir.Function(builder.module, kind, FUSED)
        return builder.call(fused, [place, weights, total])

    def added(self, builder: Any, one: Any, other: Any) -> Any:
        return builder.fadd(one, other)


class _Pairs:
    """Two neighbours of a row in whole numbers of 16 bits, and weights of 8: a processor multiplies
    both and adds them to a sum of 32 bits in two instructions (x86: vpmaddwd, vpaddd), or in one
    (VNNI: vpdpwssd)."""

    sums, together = SUMS, PAIR

    def weights(self, builder: Any, weight: _Array, panel: Any, at: Any, half: int) -> Any:
        return builder.sext(weight.read(STEPS, panel, at, INDEX(half * PAIR * LANES)), WIDE)

    def multiplied(self, builder: Any, place: Any, weights: Any, total: Any) -> Any:
        products = builder.mul(builder.sext(builder.bitcast(place, WORDS), WIDE), weights)
        firsts, seconds = (
            builder.shuffle_vector(
                products, products, ir.Constant(SUMS, [*range(each, PAIR * LANES, PAIR)])
            )
            for each in range(PAIR)
        )
        return builder.add(total, builder.add(firsts, seconds))

    def added(self, builder: Any, one: Any, other: Any) -> Any:
        return builder.add(one, other)


def _tiles(tallest: int, panels: int) -> Any:
    """Return a function that adds to a tile of the product: WIDTH sums of each of `panels`, of
    each of `height` rows, up to `tallest`.

    It is called with (rows, weight, out, row, height, panel, stride, begin, end, ahead, pace):
    `multiply`'s arrays, the first row, how many, the first panel, how far apart they lie, which
    part of a row is multiplied, and what is asked for meanwhile (`_fetch`).
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> None:
        *arrays, row, height, panel, stride, begin, end, ahead, pace = given
        rows, weight, out = (
            _Array(context, builder, kind, value)
            for kind, value in zip(signature.args, arrays, strict=False)
        )
        numbers = _Pairs() if isinstance(signature.args[0].dtype, types.Integer) else _Floats()
        across = [builder.add(panel, builder.mul(stride, INDEX(n))) for n in range(panels)]
        done = builder.append_basic_block("done")
        switch = builder.switch(height, done)
        for count in range(1, tallest + 1):
            block = builder.append_basic_block(f"of_{count}")
            switch.add_case(INDEX(count), block)
            builder.position_at_end(block)
            down = [builder.add(row, INDEX(each)) for each in range(count)]
            part = begin, end, ahead, pace
            _add(numbers, builder, (rows, weight, out), down, across, part)
            builder.branch(done)
        builder.position_at_end(done)

    @intrinsic
    def tiles(
        _: Any, rows: Any, weight: Any, out: Any,
        row: Any, height: Any, panel: Any, stride: Any, begin: Any, end: Any, ahead: Any, pace: Any,
    ) -> Any:  # fmt: skip
        given = (rows, weight, out, row, height, panel, stride, begin, end, ahead, pace)
        return types.void(*given), generate

    return tiles


def _add(
    numbers: _Numbers,
    builder: Any,
    arrays: tuple[_Array, _Array, _Array],
    down: Sequence[Any],
    across: Sequence[Any],
    part: tuple[Any, Any, Any, Any],
) -> None:
    """Add the products of a part of some rows and panels to `out`."""
    rows, weight, out = arrays
    begin, end, ahead, pace = part
    tile = [(row, panel, half) for row in down for panel in across for half in range(2)]
    start = builder.block
    body, after = (builder.append_basic_block(name) for name in ("body", "after"))
    builder.branch(body)
    builder.position_at_end(body)
    at = builder.phi(INDEX)
    totals = [builder.phi(numbers.sums) for _ in tile]
    vectors = {
        (panel, half): numbers.weights(builder, weight, panel, at, half)
        for panel in across
        for half in range(2)
    }
    if len(across) == 1:
        size = WIDTH * numbers.together * weight.bits // 8
        done = builder.mul(builder.sub(at, begin), pace)
        where = builder.gep(weight.place(BYTE, across[0], begin), [builder.add(ahead, done)])
        _fetch(builder, where, size)
    filled = {row: _filled(builder, rows.read(numbers.sums.element, row, at)) for row in down}
    found = [
        numbers.multiplied(builder, filled[row], vectors[panel, half], total)
        for (row, panel, half), total in zip(tile, totals, strict=True)
    ]
    following = builder.add(at, INDEX(1))
    at.add_incoming(begin, start)
    at.add_incoming(following, body)
    for total, new in zip(totals, found, strict=True):
        total.add_incoming(numbers.sums(None), start)
        total.add_incoming(new, body)
    builder.cbranch(builder.icmp_signed("<", following, end), body, after)
    builder.position_at_end(after)
    for (row, panel, half), new in zip(tile, found, strict=True):
        output = builder.add(builder.mul(panel, INDEX(WIDTH)), INDEX(half * LANES))
        where = out.place(numbers.sums, row, output)
        sums = numbers.added(builder, builder.load(where, align=4), new)
        builder.store(sums, where, align=4)


def _fetch(builder: Any, where: Any, size: int) -> None:
    """Ask for the `size` bytes from `where` on. Beyond the end of the memory nothing happens."""
    pointer = BYTE.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, INT, INT, INT])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    read, soon, data = INT(0), INT(2), INT(1)
    for line in range(0, size, LINE):
        builder.call(fetch, [builder.gep(where, [INDEX(line)]), read, soon, data])


def _filled(builder: Any, place: Any) -> Any:
    """Return a vector of one place."""
    empty = ir.Constant(ir.VectorType(place.type, LANES), ir.Undefined)
    one = builder.insert_element(empty, place, INT(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INT, LANES), [0] * LANES))


_one_panel, _two_panels, _four_panels = _tiles(ROWS, 1), _tiles(FEW, 2), _tiles(1, 4)


@compile_exactly
def multiply(
    rows: Floats | Int32,
    weight: Floats | Int16 | Signed,
    out: Floats | Int32,
    first: int,
    last: int,
) -> None:
    """Add the product of rows [rows, size] and panels [first, last) to `out` [rows, outputs].

    `weight` [panels, size, WIDTH], float16 as whole numbers of 16 bits: output WIDTH p + n is
    number n of panel p. In whole numbers a place of a row is a pair of 16 bits each, `size` counts
    pairs, and those of an output lie side by side: `weight` [panels, size, PAIR WIDTH].
    """
    count, size = rows.shape
    few = FEW if weight.itemsize == 4 else FEW_SMALL
    streams = 4 if count == 1 else 2 if count <= few else 1
    share = (last - first) // streams if streams > 1 else 0
    for panel in range(first, first + share):
        for begin in range(0, size, DEPTH):
            end = min(begin + DEPTH, size)
            if streams == 4:
                _four_panels(rows, weight, out, 0, 1, panel, share, begin, end, 0, 0)
            else:
                _two_panels(rows, weight, out, 0, count, panel, share, begin, end, 0, 0)
    place = weight.shape[2] * weight.itemsize  # bytes
    for band in range(0, count, BAND):
        most = min(band + BAND, count)
        for panel in range(first + streams * share, last):
            for begin in range(0, size, DEPTH):
                end, row, tiles = min(begin + DEPTH, size), band, -(-(most - band) // ROWS)
                # What follows this part in the memory is asked for by all its tiles, each a share:
                # the first alone would wait for it, and the others leave the memory idle.
                ahead, pace = (end - begin) * place, -(-place // tiles)
                while row < most:  # in tiles of much the same height
                    height = -(-(most - row) // tiles)
                    _one_panel(rows, weight, out, row, height, panel, 0, begin, end, ahead, pace)
                    ahead += (end - begin) * pace
                    row += height
                    tiles -= 1
