"""What lies between the products of a layer, in two kernels of Triton.

Torch needs a dozen small ones for it, and at one row each takes as long to start as to run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kogpt_bot.generation.kv_store import LayerCache
from kogpt_bot.generation.operators import CUBE, GELU, TorchOperators
from kogpt_bot.generation.rounding import ACTIVATION_STEPS, QUIET
from kogpt_bot.generation.triton_launch import early, let_next_start, wait_for_last

CHUNK = 1024  # hidden numbers of the MLP that a program takes
NEAREST = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves no room for a fraction


@triton.jit
def _norm(
    hidden, added, weight, bias, total, out, size, epsilon,
    LANES: tl.constexpr, ADDED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Add to one row, and normalise it."""
    let_next_start(EARLY)
    wait_for_last(EARLY)
    begin = tl.program_id(0).to(tl.int64) * size
    lanes = tl.arange(0, LANES)
    whole = lanes < size
    row = tl.load(hidden + begin + lanes, mask=whole, other=0.0)
    if ADDED:
        more = tl.load(added + begin + lanes, mask=whole, other=0.0)
        row = (row.to(tl.float32) + more.to(tl.float32)).to(row.dtype)
        tl.store(total + begin + lanes, row, mask=whole)
    row = row.to(tl.float32)
    off = tl.where(whole, row - tl.sum(row, axis=0) / size, 0.0)
    off *= 1.0 / tl.sqrt(tl.sum(off * off, axis=0) / size + epsilon)
    off *= tl.load(weight + lanes, mask=whole, other=0.0).to(tl.float32)
    off += tl.load(bias + lanes, mask=whole, other=0.0).to(tl.float32)
    tl.store(out + begin + lanes, off.to(out.dtype.element_ty), mask=whole)


@triton.jit
def _keep(vector, numbers, scales, place, lanes, whole, HEAD, STEPS, QUIET, STEPPED: tl.constexpr):
    """Write one vector to the cache; in bytes its scale, too."""
    if STEPPED:
        scale = tl.maximum(tl.max(tl.abs(vector), axis=0), QUIET) / STEPS
        scale += tl.sum(vector, axis=0) * 0.0  # NaN stays, of which a maximum says nothing
        vector = (vector / scale + NEAREST) - NEAREST
        tl.store(scales + place, scale)
    tl.store(numbers + place * HEAD + lanes, vector.to(numbers.dtype.element_ty), mask=whole)


@triton.jit(do_not_specialize=["tokens"])
def _spread(
    joined, turns, slots, numbers, scales, asked, both, tokens, inner,
    HEADS: tl.constexpr, HEAD: tl.constexpr, LANES: tl.constexpr, PAIRS: tl.constexpr,
    CHUNK: tl.constexpr, GELU: tl.constexpr, CUBE: tl.constexpr,
    STEPS: tl.constexpr, QUIET: tl.constexpr, STEPPED: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Take one head of a row, or a part of its hidden numbers."""
    let_next_start(EARLY)
    wait_for_last(EARLY)
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    width = HEADS * HEAD
    given = joined + row * (3 * width + inner)
    if part < HEADS:
        lanes = tl.arange(0, LANES)
        whole, turned = lanes < HEAD, lanes < 2 * PAIRS
        turn = turns + row * 2 * PAIRS + lanes // 2 * 2
        cosine = tl.load(turn, mask=turned, other=1.0)
        sine = tl.load(turn + 1, mask=turned, other=0.0)
        sine = tl.where(lanes % 2 == 0, -sine, sine)
        place = part * tl.cast(tokens, tl.int64) + tl.load(slots + row)
        query = given + part * HEAD
        own = tl.load(query + lanes, mask=whole, other=0.0).to(tl.float32)
        other = tl.load(query + (lanes ^ 1), mask=turned, other=0.0).to(tl.float32)
        query_turned = (own * cosine + other * sine).to(asked.dtype.element_ty)
        tl.store(asked + row * width + part * HEAD + lanes, query_turned, mask=whole)
        key = query + width
        own = tl.load(key + lanes, mask=whole, other=0.0).to(tl.float32)
        other = tl.load(key + (lanes ^ 1), mask=turned, other=0.0).to(tl.float32)
        # As it is computed with: rounded once before it is rounded to bytes.
        turned_key = (own * cosine + other * sine).to(joined.dtype.element_ty).to(tl.float32)
        value = tl.load(key + width + lanes, mask=whole, other=0.0).to(tl.float32)
        _keep(turned_key, numbers, scales, place, lanes, whole, HEAD, STEPS, QUIET, STEPPED)
        place += HEADS * tl.cast(tokens, tl.int64)
        _keep(value, numbers, scales, place, lanes, whole, HEAD, STEPS, QUIET, STEPPED)
    else:
        at = (part - HEADS) * CHUNK + tl.arange(0, CHUNK)
        inside = at < inner
        number = tl.load(given + 3 * width + at, mask=inside, other=0.0).to(tl.float32)
        gate = number * (GELU + GELU * CUBE * number * number)
        number = number * tl.sigmoid(gate)
        target = both + row * (width + inner) + width + at
        tl.store(target, number.to(both.dtype.element_ty), mask=inside)


class TritonOperators(TorchOperators):
    """The operators of a layer on a GPU."""

    def norm(
        self, hidden: Tensor, added: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        """Return the sum, and its layer norm."""
        rows, size = hidden.shape
        out = torch.empty_like(hidden)
        total = hidden if added is None else torch.empty_like(hidden)
        lanes = triton.next_power_of_2(size)
        with torch.cuda.device_of(hidden):  # type: ignore[no-untyped-call]
            _norm[(rows,)](
                hidden, hidden if added is None else added, weight, bias, total, out, size, epsilon,
                LANES=lanes, ADDED=added is not None, num_warps=min(max(lanes // 512, 1), 8),
                **early(hidden.device),
            )  # fmt: skip
        return total, out

    def spread(
        self,
        joined: Tensor,
        turns: Tensor,
        slots: Tensor,
        cache: LayerCache,
        both: Tensor,
        heads: int,
    ) -> Tensor:
        """Rotate, keep, and take the GELU; return the queries."""
        numbers, *scales = cache.tensors
        rows, tokens, head = joined.shape[0], numbers.shape[2], numbers.shape[3]
        inner = both.shape[1] - heads * head
        asked = joined.new_empty(rows, heads, head)
        with torch.cuda.device_of(joined):  # type: ignore[no-untyped-call]
            _spread[(rows, heads + triton.cdiv(inner, CHUNK))](
                joined, torch.view_as_real(turns), slots, numbers, scales[0] if scales else numbers,
                asked, both, tokens, inner,
                HEADS=heads, HEAD=head, LANES=triton.next_power_of_2(head), PAIRS=turns.shape[1],
                CHUNK=CHUNK, GELU=GELU, CUBE=CUBE, STEPS=ACTIVATION_STEPS, QUIET=QUIET,
                STEPPED=bool(scales), **early(joined.device),
            )  # fmt: skip
        return asked
