"""Products of float32 rows with float32 or float16 weights, compiled by numba, for `kernels.py`.

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
from typing import Any

from llvmlite import binding, ir
from numba.core import types
from numba.extending import intrinsic

from kogpt_bot.generation.compiled import Floats, compile_exactly
from kogpt_bot.generation.compiled_product import FLOAT, INDEX, INT, Array, Int16

Weights = Floats | Int16

LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8  # of a vector
WIDTH = 2 * LANES  # outputs of a panel
ROWS = 12 if LANES == 16 else 6  # of a tile, whose sums stay in 32 registers or 16
BAND = 48  # rows that are multiplied while a near cache holds their part
DEPTH = 256  # numbers of a row that are added up at a time: its part of a panel stays near, too
FEW, FEW_HALVES = 4, 2  # rows that read two panels at a time; float16 waits less for the memory

X86 = ("x86_64", "AMD64")

VECTOR, HALVES = ir.VectorType(FLOAT, LANES), ir.VectorType(ir.HalfType(), LANES)
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


def _tiles(tallest: int, panels: int) -> Any:
    """Return a function that adds to a tile of the product: WIDTH numbers of each of `panels`, of
    each of `height` rows, up to `tallest`.

    It is called with (rows, weight, out, row, height, panel, stride, begin, end): `multiply`'s
    arrays, the first row, how many, the first panel, how far apart they lie, and which part of a
    row is multiplied.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> None:
        *arrays, row, height, panel, stride, begin, end = given
        rows, weight, out = (
            Array(context, builder, kind, value)
            for kind, value in zip(signature.args, arrays, strict=False)
        )
        across = [builder.add(panel, builder.mul(stride, INDEX(n))) for n in range(panels)]
        done = builder.append_basic_block("done")
        switch = builder.switch(height, done)
        for count in range(1, tallest + 1):
            block = builder.append_basic_block(f"of_{count}")
            switch.add_case(INDEX(count), block)
            builder.position_at_end(block)
            down = [builder.add(row, INDEX(each)) for each in range(count)]
            _add(builder, (rows, weight, out), down, across, (begin, end))
            builder.branch(done)
        builder.position_at_end(done)

    @intrinsic
    def tiles(
        _: Any, rows: Any, weight: Any, out: Any,
        row: Any, height: Any, panel: Any, stride: Any, begin: Any, end: Any,
    ) -> Any:  # fmt: skip
        given = (rows, weight, out, row, height, panel, stride, begin, end)
        return types.void(*given), generate

    return tiles


def _add(
    builder: Any,
    arrays: tuple[Array, Array, Array],
    down: Sequence[Any],
    across: Sequence[Any],
    part: tuple[Any, Any],
) -> None:
    """Add the products of a part of some rows and panels to `out`."""
    rows, weight, out = arrays
    begin, end = part
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    fused = builder.module.globals.get(FUSED) or ir.Function(builder.module, kind, FUSED)
    places = [(row, panel, half) for row in down for panel in across for half in range(2)]
    start = builder.block
    body, after = (builder.append_basic_block(name) for name in ("body", "after"))
    builder.branch(body)
    builder.position_at_end(body)
    at = builder.phi(INDEX)
    totals = [builder.phi(VECTOR) for _ in places]
    vectors = {
        (panel, half): _weights(builder, weight, panel, at, INDEX(half * LANES))
        for panel in across
        for half in range(2)
    }
    if len(across) == 1:
        _fetch(builder, weight, across[0], builder.add(at, builder.sub(end, begin)))
    numbers = {row: _filled(builder, rows.read(FLOAT, row, at)) for row in down}
    sums = [
        builder.call(fused, [numbers[row], vectors[panel, half], total])
        for (row, panel, half), total in zip(places, totals, strict=True)
    ]
    following = builder.add(at, INDEX(1))
    at.add_incoming(begin, start)
    at.add_incoming(following, body)
    for total, found in zip(totals, sums, strict=True):
        total.add_incoming(VECTOR(None), start)
        total.add_incoming(found, body)
    builder.cbranch(builder.icmp_signed("<", following, end), body, after)
    builder.position_at_end(after)
    for (row, panel, half), found in zip(places, sums, strict=True):
        output = builder.add(builder.mul(panel, INDEX(WIDTH)), INDEX(half * LANES))
        place = out.place(VECTOR, row, output)
        builder.store(builder.fadd(builder.load(place, align=4), found), place, align=4)


def _weights(builder: Any, weight: Array, *place: Any) -> Any:
    if weight.bits == HALF:  # in numba's eyes whole numbers
        return builder.fpext(weight.read(HALVES, *place), VECTOR)
    return weight.read(VECTOR, *place)


def _fetch(builder: Any, weight: Array, panel: Any, at: Any) -> None:
    """Ask for what is read after this part: what follows it in the memory, in this panel or the
    next one. Beyond the end nothing happens."""
    pointer = BYTE.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, INT, INT, INT])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    for first in range(0, WIDTH, 8 * LINE // weight.bits):
        place = builder.bitcast(weight.place(BYTE, panel, at, INDEX(first)), pointer)
        builder.call(fetch, [place, INT(0), INT(2), INT(1)])  # to read, soon, data


def _filled(builder: Any, number: Any) -> Any:
    """Return a vector of one number."""
    empty = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(empty, number, INT(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INT, LANES), [0] * LANES))


_one_panel, _two_panels, _four_panels = _tiles(ROWS, 1), _tiles(FEW, 2), _tiles(1, 4)


@compile_exactly
def multiply(rows: Floats, weight: Weights, out: Floats, first: int, last: int) -> None:
    """Add the product of rows [rows, size] and panels [first, last) to `out` [rows, outputs].

    `weight` [panels, size, WIDTH], float16 as whole numbers: output WIDTH p + n is number n of
    panel p.
    """
    count, size = rows.shape
    few = FEW_HALVES if weight.itemsize == 2 else FEW
    streams = 4 if count == 1 else 2 if count <= few else 1
    share = (last - first) // streams if streams > 1 else 0
    for panel in range(first, first + share):
        for begin in range(0, size, DEPTH):
            end = min(begin + DEPTH, size)
            if streams == 4:
                _four_panels(rows, weight, out, 0, 1, panel, share, begin, end)
            else:
                _two_panels(rows, weight, out, 0, count, panel, share, begin, end)
    for band in range(0, count, BAND):
        most = min(band + BAND, count)
        for panel in range(first + streams * share, last):
            for begin in range(0, size, DEPTH):
                end, row, tiles = min(begin + DEPTH, size), band, -(-(most - band) // ROWS)
                while row < most:  # in tiles of much the same height
                    height = -(-(most - row) // tiles)
                    _one_panel(rows, weight, out, row, height, panel, 0, begin, end)
                    row += height
                    tiles -= 1
