"""Loops over a GPU's memory, written in Triton. Imported by `kernels.py` alone, where
there is a GPU.

With TRITON_INTERPRET=1 they run on a CPU, slowly: so they are tested without a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 32  # tokens whose keys, and then values, a program reads at once
SHARE = 256  # tokens of a program: several share a long row, or one row would leave a GPU idle
FEWEST_ROWS = 16  # of a product: a tensor core's least
PART = 128  # how much of a row is read at once
MANY_OUTS = 8192  # outputs: with fewer, smaller programs, or there are too few to fill a GPU


# Numbers that change from step to step must not be compiled for anew.
@triton.jit(do_not_specialize=["width"])
def _look(
    numbers, scales, queries, tables, ends, seen, tops, sums,
    row_step, head_step, tokens, width, factor,
    HEADS: tl.constexpr, HEAD: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr,
    TILE: tl.constexpr, SHARE: tl.constexpr, STEPPED: tl.constexpr,
):  # fmt: skip
    """See one share of a row's tokens with one head: softmax on the way (FlashDecoding)."""
    row, head, share = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tokens = tl.cast(tokens, tl.int64)  # a large store has more than 2^31 numbers
    end = tl.minimum(tl.load(ends + row), (share + 1) * SHARE)
    lanes = tl.arange(0, LANES)
    whole = lanes < HEAD
    asked = tl.load(queries + row * row_step + head * head_step + lanes, mask=whole, other=0.0)
    asked = asked.to(tl.float32) * factor
    top = -1e30  # in place of -inf, whose difference to itself is not a number
    total = 0.0
    found = tl.zeros([LANES], dtype=tl.float32)
    for begin in range(share * SHARE, end, TILE):
        at = begin + tl.arange(0, TILE)
        there = at < end
        block = tl.load(tables + row * width + at // BLOCK, mask=there, other=0).to(tl.int64)
        place = head * tokens + block * BLOCK + at % BLOCK
        cell = place[:, None] * HEAD + lanes[None, :]
        inside = there[:, None] & whole[None, :]
        keys = tl.load(numbers + cell, mask=inside, other=0).to(tl.float32)
        scores = tl.sum(keys * asked[None, :], axis=1)
        if STEPPED:
            scores *= tl.load(scales + place, mask=there, other=0.0)
        scores = tl.where(there, scores, -1e30)
        higher = tl.maximum(top, tl.max(scores, axis=0))
        weights = tl.where(there, tl.exp(scores - higher), 0.0)
        kept = tl.exp(top - higher)
        total = total * kept + tl.sum(weights, axis=0)
        values = HEADS * tokens  # after the keys
        if STEPPED:
            weights *= tl.load(scales + values + place, mask=there, other=0.0)
        seeing = tl.load(numbers + values * HEAD + cell, mask=inside, other=0).to(tl.float32)
        found = found * kept + tl.sum(weights[:, None] * seeing, axis=0)
        top = higher
    part = (row * HEADS + head) * tl.num_programs(2) + share
    tl.store(seen + part * HEAD + lanes, found, mask=whole)
    tl.store(tops + part, top)
    tl.store(sums + part, total)


@triton.jit(do_not_specialize=["shares"])
def _join(
    seen, tops, sums, ends, out, row_step, head_step, shares,
    HEADS: tl.constexpr, HEAD: tl.constexpr, LANES: tl.constexpr, SHARE: tl.constexpr,
):  # fmt: skip
    """Put the shares of a row together."""
    row, head = tl.program_id(0), tl.program_id(1)
    lanes = tl.arange(0, LANES)
    whole = lanes < HEAD
    top = -1e30
    total = 0.0
    found = tl.zeros([LANES], dtype=tl.float32)
    for share in range(0, tl.cdiv(tl.load(ends + row), SHARE)):
        part = (row * HEADS + head) * shares + share
        here = tl.load(tops + part)
        higher = tl.maximum(top, here)
        kept, added = tl.exp(top - higher), tl.exp(here - higher)
        total = total * kept + tl.load(sums + part) * added
        found = found * kept + tl.load(seen + part * HEAD + lanes, mask=whole, other=0.0) * added
        top = higher
    found = (found / total).to(out.dtype.element_ty)
    tl.store(out + row * row_step + head * head_step + lanes, found, mask=whole)


def look(
    numbers: Tensor,
    scales: Tensor | None,
    queries: Tensor,
    out: Tensor,
    tables: Tensor,
    ends: Tensor,
    block: int,
) -> None:
    """Write what rows see to `out`; it and `queries` are [rows, heads, head].

    `numbers` [2, heads, tokens, head] are keys and values; where they are int8, `scales`
    [2, heads, tokens] are theirs. `tables` [rows, width] are the blocks of each row, `block` tokens
    each, and `ends` [rows] how many tokens it sees, one at least. The grid depends on the width
    alone, so that a CUDA graph serves rows of any length.
    """
    rows, heads, head = queries.shape
    tokens, width = numbers.shape[2], tables.shape[1]
    shares, lanes = triton.cdiv(width * block, SHARE), triton.next_power_of_2(head)
    seen = queries.new_empty(rows, heads, shares, head, dtype=torch.float32)
    tops, sums = seen.new_empty(2, rows, heads, shares).unbind()
    fixed: dict[str, Any] = {"HEADS": heads, "HEAD": head, "LANES": lanes, "SHARE": SHARE}
    with torch.cuda.device_of(queries):  # type: ignore[no-untyped-call]
        _look[(rows, heads, shares)](
            numbers, numbers if scales is None else scales, queries, tables, ends, seen, tops, sums,
            *queries.stride()[:2], tokens, width, head**-0.5,
            BLOCK=block, TILE=TILE, STEPPED=scales is not None, **fixed,
        )  # fmt: skip
        _join[(rows, heads)](
            seen, tops, sums, ends, out, *out.stride()[:2], shares, **fixed
        )  # fmt: skip


@triton.jit(do_not_specialize=["count", "outs"])
def _multiply(
    rows, weight, scales, bias, out, count, outs, width, row_step,
    ROWS: tl.constexpr, OUTS: tl.constexpr, PART: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    """Multiply all rows with some outputs' weights, widened as they are read."""
    at = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    row = tl.arange(0, ROWS)
    wanted, there = at < outs, row < count
    total = tl.zeros([ROWS, OUTS], dtype=tl.float32)
    for begin in range(0, width, PART):
        part = begin + tl.arange(0, PART)
        inside = part < width
        given = tl.load(
            rows + row[:, None] * row_step + part[None, :],
            mask=there[:, None] & inside[None, :],
            other=0.0,
        )
        steps = tl.load(
            weight + at[None, :].to(tl.int64) * width + part[:, None],
            mask=wanted[None, :] & inside[:, None],
            other=0,
        )
        total += tl.dot(given, steps.to(given.dtype), input_precision="ieee")
    total *= tl.load(scales + at, mask=wanted, other=0.0)[None, :]
    if BIASED:
        total += tl.load(bias + at, mask=wanted, other=0.0).to(tl.float32)[None, :]
    tl.store(
        out + row[:, None] * outs + at[None, :],
        total.to(out.dtype.element_ty),
        mask=there[:, None] & wanted[None, :],
    )


def multiply(rows: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
    """Return rows [n, in] times int8 weights [out, in] of one scale an output [out] (float32).

    All rows are held at once: it is for few (`linear.FEW_ROWS`).
    """
    (count, width), outs = rows.shape, len(weight)
    out = rows.new_empty(count, outs)
    each = 32 if outs >= MANY_OUTS else 16  # outputs of a program
    held = max(FEWEST_ROWS, triton.next_power_of_2(count))
    with torch.cuda.device_of(rows):  # type: ignore[no-untyped-call]
        _multiply[(triton.cdiv(outs, each),)](
            rows, weight, scales, scales if bias is None else bias, out,
            count, outs, width, rows.stride(0),
            ROWS=held, OUTS=each, PART=PART, BIASED=bias is not None,
        )  # fmt: skip
    return out
