"""Products of few rows, in Triton: they take as long as reading the weights.

Weights are widened as they are read, so that in int8 half as much is read as in float16.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kogpt_bot.generation.triton_launch import early, let_next_start, wait_for_last

FEWEST_ROWS = 16  # of a tensor core
# How a product of one row is shared out, by what weights are held in: with short rows, with long.
# Measured on an H200 with KoGPT's weights.
ALONE = (
    {"OUTS": 4, "PART": 512, "UNROLL": 2, "num_warps": 2},
    {"OUTS": 8, "PART": 1024, "UNROLL": 1, "num_warps": 4},
)
ALONE_BYTES = (
    {"OUTS": 2, "PART": 512, "UNROLL": 2, "num_warps": 2},
    {"OUTS": 4, "PART": 512, "UNROLL": 4, "num_warps": 2},
)
LONG = 8192  # numbers of a row
TOGETHER = {"OUTS": 64, "PART": 128, "num_warps": 4, "num_stages": 3}
PROGRAMS = 1024  # fewer leave a GPU idle: then several share the numbers of an output, too
MOST_SPLIT = 8
WIDENED = 4096  # numbers that a program widens


@triton.jit
def _widened(numbers):
    """Widen int8 by its bits: a GPU has few units that convert. 0x4B000000 is 2^23 in float32,
    whose last bits count ones."""
    if numbers.dtype == tl.int8:
        numbers = numbers.to(tl.uint8, bitcast=True).to(tl.uint32) ^ 0x4B000080
        numbers = numbers.to(tl.float32, bitcast=True) - 8388736.0
    return numbers


@triton.jit
def _add_part(total, numbers, row, begin, part, width):
    given = tl.load(row + begin + part, mask=part < width - begin, other=0.0)
    return total + _widened(numbers).to(tl.float32) * given.to(tl.float32)[None, :]


# Numbers that change from step to step must not be compiled for anew.
@triton.jit(do_not_specialize=["outs"])
def _multiply_row(
    row, weight, scales, bias, out, outs, width, late,
    OUTS: tl.constexpr, PART: tl.constexpr, UNROLL: tl.constexpr, BIASED: tl.constexpr,
    STEPPED: tl.constexpr, LATE: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Multiply one row with the weights of some outputs; the next of them are always on their way,
    the first before there is a row, and with LATE all but the first `late` numbers are done with
    before the kernel in front has ended."""
    let_next_start(EARLY)
    at = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    wanted = (at < outs)[:, None]
    # Eight neighbours a thread, in bytes too: so that row and weights need not change threads.
    part = tl.max_contiguous(tl.multiple_of(tl.arange(0, PART), 8), 8)
    own = weight + at[:, None].to(tl.int64) * width + part[None, :]
    total = tl.zeros([OUTS, PART], dtype=tl.float32)
    first, end = 0, width
    if LATE:
        first, end = late, late
    numbers = tl.load(own + first, mask=wanted & (part < width - first)[None, :], other=0)
    if LATE:
        for begin in tl.range(late, width, PART, loop_unroll_factor=UNROLL):
            total = _add_part(total, numbers, row, begin, part, width)
            following = begin + PART
            mask = wanted & (part < width - following)[None, :]
            numbers = tl.load(own + following, mask=mask, other=0)
        numbers = tl.load(own, mask=wanted & (part < end)[None, :], other=0)
    wait_for_last(EARLY)
    for begin in tl.range(0, end, PART, loop_unroll_factor=UNROLL):
        total = _add_part(total, numbers, row, begin, part, end)
        following = begin + PART
        mask = wanted & (part < end - following)[None, :]
        numbers = tl.load(own + following, mask=mask, other=0)
    wanted = at < outs
    result = tl.sum(total, axis=1)
    if STEPPED:
        result *= tl.load(scales + at, mask=wanted, other=0.0)
    if BIASED:
        result += tl.load(bias + at, mask=wanted, other=0.0).to(tl.float32)
    tl.store(out + at, result.to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["count", "outs"])
def _multiply(
    rows, weight, scales, bias, out, count, outs, width, row_step, each,
    ROWS: tl.constexpr, OUTS: tl.constexpr, PART: tl.constexpr, SPLIT: tl.constexpr,
    BIASED: tl.constexpr, STEPPED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Multiply all rows with the weights of some outputs: the weights are the first factor, of
    which a tensor core takes 64 outputs at a time. With SPLIT, only `each` of their numbers."""
    let_next_start(EARLY)
    wait_for_last(EARLY)
    at = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    row = tl.arange(0, ROWS)
    wanted, there = at < outs, row < count
    own = weight + at[:, None].to(tl.int64) * width
    total = tl.zeros([OUTS, ROWS], dtype=tl.float32)
    first = tl.program_id(1) * each
    end = tl.minimum(first + each, width)
    for begin in range(first, end, PART):
        part = begin + tl.arange(0, PART)
        inside = part < end
        numbers = tl.load(own + part[None, :], mask=wanted[:, None] & inside[None, :], other=0)
        given = tl.load(
            rows + row[None, :] * row_step + part[:, None],
            mask=there[None, :] & inside[:, None],
            other=0.0,
        )
        total = tl.dot(_widened(numbers).to(given.dtype), given, total, input_precision="ieee")
    if STEPPED:
        total *= tl.load(scales + at, mask=wanted, other=0.0)[:, None]
    if BIASED and not SPLIT:
        total += tl.load(bias + at, mask=wanted, other=0.0).to(tl.float32)[:, None]
    place = (tl.program_id(1) * count + row[None, :]) * outs + at[:, None]
    tl.store(out + place, total.to(out.dtype.element_ty), mask=there[None, :] & wanted[:, None])


@triton.jit(do_not_specialize=["outs"])
def _sum(
    parts, bias, out, outs,
    SPLIT: tl.constexpr, SIZE: tl.constexpr, BIASED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Add the parts of a row's outputs."""
    let_next_start(EARLY)
    wait_for_last(EARLY)
    row, count = tl.program_id(0), tl.num_programs(0)
    at = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = at < outs
    total = tl.zeros([SIZE], dtype=tl.float32)
    for part in tl.static_range(SPLIT):
        total += tl.load(parts + (part * count + row) * outs + at, mask=inside, other=0.0)
    if BIASED:
        total += tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * outs + at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _widen(weight, scales, out, width, SIZE: tl.constexpr, EARLY: tl.constexpr):
    """Write a part of one output's weights as what they stand for."""
    let_next_start(EARLY)
    wait_for_last(EARLY)
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = at < width
    numbers = _widened(tl.load(weight + row * width + at, mask=inside, other=0))
    numbers *= tl.load(scales + row)
    tl.store(out + row * width + at, numbers.to(out.dtype.element_ty), mask=inside)


class TritonProducts:
    """Products with weights [out, in] in int8, or as the rows are."""

    def multiply(
        self,
        rows: Tensor,
        weight: Tensor,
        scales: Tensor | None,
        bias: Tensor | None,
        late: int = 0,
    ) -> Tensor:
        """Return rows [n, in] times a weight; all rows are held at once: it is for few."""
        (count, width), outs = rows.shape, len(weight)
        out = rows.new_empty(count, outs)
        chosen = _shared_out(count, width, weight.dtype)
        programs = triton.cdiv(outs, chosen["OUTS"])
        given = weight, weight if scales is None else scales, weight if bias is None else bias
        on = early(rows.device)
        fixed = {"BIASED": bias is not None, "STEPPED": scales is not None, **on}
        with torch.cuda.device_of(rows):  # type: ignore[no-untyped-call]
            if count == 1:
                _multiply_row[(programs,)](
                    rows, *given, out, outs, width, late, LATE=late > 0, **fixed, **chosen
                )
                return out
            split = max(1, min(PROGRAMS // programs, MOST_SPLIT))
            # A whole number of parts each.
            each = triton.cdiv(triton.cdiv(width, chosen["PART"]), split) * chosen["PART"]
            split = triton.cdiv(width, each)
            target = out
            if split > 1:
                target = out.new_empty(split, count, outs, dtype=torch.float32)
            held = max(FEWEST_ROWS, triton.next_power_of_2(count))
            _multiply[(programs, split)](
                rows, *given, target, count, outs, width, rows.stride(0), each,
                ROWS=held, SPLIT=split > 1, **fixed, **chosen,
            )  # fmt: skip
            if split > 1:
                _sum[(count, triton.cdiv(outs, 1024))](
                    target,
                    given[2],
                    out,
                    outs,
                    SPLIT=split,
                    SIZE=1024,
                    BIASED=bias is not None,
                    **on,
                )
        return out

    def widen(self, weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        """Return an int8 weight as numbers."""
        outs, width = weight.shape
        out = torch.empty(outs, width, dtype=dtype, device=weight.device)
        with torch.cuda.device_of(weight):  # type: ignore[no-untyped-call]
            _widen[(outs, triton.cdiv(width, WIDENED))](
                weight, scales, out, width, SIZE=WIDENED, **early(weight.device)
            )
        return out


def _shared_out(count: int, width: int, dtype: torch.dtype) -> dict[str, int]:
    if count > 1:
        return TOGETHER
    return (ALONE_BYTES if dtype is torch.int8 else ALONE)[width >= LONG]
