"""Attention over blocks wherever they lie, in Triton: of rows that write, and of prompts.

With TRITON_INTERPRET=1 Triton's kernels run on a CPU, slowly: so they are tested without a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kogpt_bot.generation.triton_launch import early, let_next_start, wait_for_last

# How looking is shared out, for up to so many rows: the tokens of a program, how many of them it
# reads at once. (Few rows would leave a GPU idle, were they not shared.) Measured on an H200.
LOOK = (
    (2, {"SHARE": 64, "TILE": 64, "num_warps": 4}),
    (8, {"SHARE": 64, "TILE": 32, "num_warps": 4}),
    (32, {"SHARE": 128, "TILE": 16, "num_warps": 4}),
    (1 << 30, {"SHARE": 256, "TILE": 8, "num_warps": 4}),
)
READ = {"ROWS": 64, "TILE": 32, "num_warps": 4, "num_stages": 2}  # of a prompt
FAR = tl.constexpr(-1e30)  # in place of -inf, whose difference to itself is not a number


# Numbers that change from step to step must not be compiled for anew.
@triton.jit(do_not_specialize=["width"])
def _look(
    numbers, scales, queries, tables, ends, seen, tops, sums,
    row_step, head_step, tokens, width, factor,
    HEADS: tl.constexpr, HEAD: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr,
    TILE: tl.constexpr, SHARE: tl.constexpr, STEPPED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """See one share of a row's tokens with one head: softmax on the way (FlashDecoding).

    Each place of a tile keeps a softmax of its own, so that warps need not wait for one another
    before the end.
    """
    row, head, share = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tokens = tl.cast(tokens, tl.int64)  # a large store has more than 2^31 numbers
    # Before the wait, as all that a step is about: it was copied before the step's first kernel.
    end = tl.minimum(tl.load(ends + row), (share + 1) * SHARE)
    lanes = tl.arange(0, LANES)
    whole = lanes < HEAD
    values = HEADS * tokens  # after the keys
    wait_for_last(EARLY)
    let_next_start(EARLY)  # only now: see `Products.multiply`
    if share * SHARE < end:
        asked = queries + row * row_step + head * head_step + lanes
        asked = tl.load(asked, mask=whole, other=0.0).to(tl.float32) * factor
        top = tl.full([TILE], FAR, dtype=tl.float32)
        total = tl.zeros([TILE], dtype=tl.float32)
        found = tl.zeros([TILE, LANES], dtype=tl.float32)
        for begin in range(share * SHARE, end, TILE):
            at = begin + tl.arange(0, TILE)
            there = at < end
            block = tl.load(tables + row * width + at // BLOCK, mask=there, other=0).to(tl.int64)
            place = head * tokens + block * BLOCK + at % BLOCK
            cell = place[:, None] * HEAD + lanes[None, :]
            inside = there[:, None] & whole[None, :]
            keys = tl.load(numbers + cell, mask=inside, other=0)
            seeing = tl.load(numbers + values * HEAD + cell, mask=inside, other=0)
            scores = tl.sum(keys.to(tl.float32) * asked[None, :], axis=1)
            if STEPPED:
                scores *= tl.load(scales + place, mask=there, other=0.0)
            scores = tl.where(there, scores, FAR)
            higher = tl.maximum(top, scores)
            weights = tl.where(there, tl.exp(scores - higher), 0.0)
            kept = tl.exp(top - higher)
            total = total * kept + weights
            if STEPPED:
                weights *= tl.load(scales + values + place, mask=there, other=0.0)
            found = found * kept[:, None] + weights[:, None] * seeing.to(tl.float32)
            top = higher
        highest = tl.max(top, axis=0)
        kept = tl.exp(top - highest)
        part = (row * HEADS + head) * tl.num_programs(2) + share
        tl.store(seen + part * HEAD + lanes, tl.sum(found * kept[:, None], axis=0), mask=whole)
        tl.store(tops + part, highest)
        tl.store(sums + part, tl.sum(total * kept, axis=0))


@triton.jit(do_not_specialize=["shares"])
def _join(
    seen, tops, sums, ends, out, row_step, head_step, shares,
    HEADS: tl.constexpr, HEAD: tl.constexpr, LANES: tl.constexpr, SHARE: tl.constexpr,
    SHARES: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Put the shares of a row together."""
    let_next_start(EARLY)
    row, head = tl.program_id(0), tl.program_id(1)
    lanes, share = tl.arange(0, LANES), tl.arange(0, SHARES)
    there = share < tl.cdiv(tl.load(ends + row), SHARE)
    part = (row * HEADS + head) * shares + share
    inside = there[:, None] & (lanes < HEAD)[None, :]
    wait_for_last(EARLY)
    top = tl.load(tops + part, mask=there, other=FAR)
    found = tl.load(seen + part[:, None] * HEAD + lanes[None, :], mask=inside, other=0.0)
    weights = tl.exp(top - tl.max(top, axis=0))
    total = tl.sum(weights * tl.load(sums + part, mask=there, other=0.0), axis=0)
    found = tl.sum(found * weights[:, None], axis=0) / total
    target = out + row * row_step + head * head_step + lanes
    tl.store(target, found.to(out.dtype.element_ty), mask=lanes < HEAD)


@triton.jit(do_not_specialize=["width"])
def _read(
    numbers, scales, queries, out, tables, tiles,
    row_step, head_step, out_row_step, out_head_step, tokens, width, factor,
    HEADS: tl.constexpr, HEAD: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr,
    ROWS: tl.constexpr, TILE: tl.constexpr, STEPPED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """See what some neighbouring rows of a prompt see with one head (FlashAttention)."""
    tile, head = tiles + tl.program_id(0) * 4, tl.program_id(1)
    first, count = tl.load(tile).to(tl.int64), tl.load(tile + 1)
    start, table = tl.load(tile + 2), tables + tl.load(tile + 3) * width
    tokens = tl.cast(tokens, tl.int64)
    rows, lanes = tl.arange(0, ROWS), tl.arange(0, LANES)
    given = (rows < count)[:, None] & (lanes < HEAD)[None, :]
    wait_for_last(EARLY)
    let_next_start(EARLY)  # only now: see `Products.multiply`
    asked = queries + (first + rows)[:, None] * row_step + head * head_step + lanes[None, :]
    asked = tl.load(asked, mask=given, other=0.0)
    top = tl.full([ROWS], FAR, dtype=tl.float32)
    total = tl.zeros([ROWS], dtype=tl.float32)
    found = tl.zeros([ROWS, LANES], dtype=tl.float32)
    values = HEADS * tokens  # after the keys
    end = start + count
    for begin in range(0, end, TILE):
        at = begin + tl.arange(0, TILE)
        there = at < end
        block = tl.load(table + at // BLOCK, mask=there, other=0).to(tl.int64)
        place = head * tokens + block * BLOCK + at % BLOCK
        cell = place[:, None] * HEAD + lanes[None, :]
        inside = there[:, None] & (lanes < HEAD)[None, :]
        keys = tl.load(numbers + cell, mask=inside, other=0)
        seeing = tl.load(numbers + values * HEAD + cell, mask=inside, other=0)
        if STEPPED:
            steps = tl.load(scales + place, mask=there, other=0.0)
            keys = keys.to(tl.float32) * steps[:, None]
            steps = tl.load(scales + values + place, mask=there, other=0.0)
            seeing = seeing.to(tl.float32) * steps[:, None]
        keys, seeing = keys.to(asked.dtype), seeing.to(asked.dtype)
        scores = tl.dot(asked, tl.trans(keys), input_precision="ieee") * factor
        scores = tl.where(at[None, :] <= start + rows[:, None], scores, FAR)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.exp(scores - higher[:, None])
        kept = tl.exp(top - higher)
        total = total * kept + tl.sum(weights, axis=1)
        found = found * kept[:, None]
        found = tl.dot(weights.to(asked.dtype), seeing, found, input_precision="ieee")
        top = higher
    target = out + (first + rows)[:, None] * out_row_step + head * out_head_step + lanes[None, :]
    tl.store(target, (found / total[:, None]).to(out.dtype.element_ty), mask=given)


class TritonAttention:
    """Attention over blocks; `rows` of a prompt at once, 0 where it does not read prompts."""

    def __init__(self, *, reads: bool = True) -> None:
        self.rows = READ["ROWS"] if reads else 0

    def look(
        self,
        numbers: Tensor,
        scales: Tensor | None,
        queries: Tensor,
        out: Tensor,
        tables: Tensor,
        ends: Tensor,
        block: int,
    ) -> None:
        """Write what rows that write see to `out`."""
        rows, heads, head = queries.shape
        tokens, width = numbers.shape[2], tables.shape[1]
        chosen = next(each for most, each in LOOK if rows <= most)
        share = chosen["SHARE"]
        shares, lanes = triton.cdiv(width * block, share), triton.next_power_of_2(head)
        seen = queries.new_empty(rows, heads, shares, head, dtype=torch.float32)
        tops, sums = seen.new_empty(2, rows, heads, shares).unbind()
        fixed = {"HEADS": heads, "HEAD": head, "LANES": lanes, **early(queries.device)}
        held = triton.next_power_of_2(shares)
        with torch.cuda.device_of(queries):  # type: ignore[no-untyped-call]
            _look[(rows, heads, shares)](
                numbers, numbers if scales is None else scales, queries, tables, ends,
                seen, tops, sums, *queries.stride()[:2], tokens, width, head**-0.5,
                BLOCK=block, STEPPED=scales is not None, **chosen, **fixed,
            )  # fmt: skip
            _join[(rows, heads)](
                seen, tops, sums, ends, out, *out.stride()[:2], shares,
                SHARE=share, SHARES=held, num_warps=min(max(held // 8, 1), 8), **fixed,
            )  # fmt: skip

    def read(
        self,
        numbers: Tensor,
        scales: Tensor | None,
        queries: Tensor,
        out: Tensor,
        tables: Tensor,
        tiles: Tensor,
        block: int,
    ) -> None:
        """Write what rows of prompts see to `out`."""
        heads, head = queries.shape[1:]
        lanes = max(triton.next_power_of_2(head), 16)  # a tensor core's least
        with torch.cuda.device_of(queries):  # type: ignore[no-untyped-call]
            _read[(len(tiles), heads)](
                numbers, numbers if scales is None else scales, queries, out, tables, tiles,
                *queries.stride()[:2], *out.stride()[:2],
                numbers.shape[2], tables.shape[1], head**-0.5,
                HEADS=heads, HEAD=head, LANES=lanes, BLOCK=block, STEPPED=scales is not None,
                **READ, **early(queries.device),
            )  # fmt: skip
