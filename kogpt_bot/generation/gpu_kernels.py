"""Kernels of our own for a GPU: an optional part, found and tried at start.

Triton compiles them (`triton_attention.py`, `triton_operators.py`, `triton_products.py`); torch's
operators do the same where it does not serve.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog
import torch
import torch.nn.functional as F
from torch import Tensor

from kogpt_bot.generation.kernels import reason
from kogpt_bot.generation.kv_store import CacheDtype, KVStore
from kogpt_bot.generation.operators import Operators, TorchOperators
from kogpt_bot.generation.rounding import ACTIVATION_STEPS

log = structlog.get_logger(__name__)

SWITCH = "KOGPT_BOT_GPU_KERNELS"  # off: torch's own operators on a GPU
OLDEST = (8, 0)  # compute capability
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2  # a result in bfloat16 has 8 bits


class PagedAttention(Protocol):
    """Attention over blocks wherever they lie.

    `numbers` [2, heads, tokens, head] are keys and values; where they are int8, `scales`
    [2, heads, tokens] are theirs. `queries` and `out` are [rows, heads, head]. `tables`
    [sequences, width] are the blocks of each sequence, `block` tokens each.
    """

    @property
    def rows(self) -> int:
        """How many rows of a prompt it takes at once; 0: it does not read prompts."""
        ...

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
        """Write what rows that write see to `out`: each of a sequence of its own, of whose tokens
        it sees the first `ends` [rows], one at least. The work depends on the width of the tables
        alone, so that a CUDA graph serves rows of any length."""
        ...

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
        """Write what rows of prompts see to `out`. `tiles` [n, 4], int32: a first row, how many
        rows (`rows` at most), where the first stands in its sequence, which table it has."""
        ...


class Products(Protocol):
    """Products of few rows [n, in] with weights [out, in] that are as the rows are, or int8 with
    `scales` [out] in float32."""

    def multiply(
        self,
        rows: Tensor,
        weight: Tensor,
        scales: Tensor | None,
        bias: Tensor | None,
        late: int = 0,
    ) -> Tensor:
        """Multiply.

        The first `late` numbers of a row may come late: then the product with the others is begun
        while the last two kernels in front, which write them, run. The others must be complete
        before the second last of these lets the last one start; attention lets nothing start
        before it has itself waited.
        """
        ...

    def widen(self, weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        """Return an int8 weight as numbers."""
        ...


def weakest(devices: Sequence[torch.device]) -> torch.device:
    """Return the device on which kernels are tried for all: what serves there serves on newer."""
    if devices[-1].type != "cuda":
        return devices[-1]
    return min(dict.fromkeys(devices), key=torch.cuda.get_device_capability)


def find_paged(
    heads: int, head: int, dtype: torch.dtype, device: torch.device, cache: torch.dtype
) -> PagedAttention | None:
    """Return attention over blocks on a GPU; None where Triton does not serve.

    `dtype` is what is computed with, `cache` what keys and values are kept in.
    """
    triton = _triton("triton_attention", device)
    if triton is None:
        return None
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, heads, 5 * 16, head, generator=generator)
    scales, kept = None, numbers.to(dtype)
    if cache is torch.int8:
        scales = numbers.abs().amax(-1) / 127
        kept = (numbers / scales.unsqueeze(-1)).round().to(torch.int8)
    numbers = kept * scales.unsqueeze(-1) if scales is not None else kept.float()
    queries = torch.randn(33, 3, heads, head, generator=generator).to(dtype)[:, 0]
    tables = torch.stack([torch.randperm(5, generator=generator) for _ in range(33)])
    ends = [(75, 7, 33)[row % 3] for row in range(33)]  # where rows are few, two programs share 75
    wanted = []
    for row, end in enumerate(ends):
        places = [int(tables[row, at // 16]) * 16 + at % 16 for at in range(end)]
        keys, values = numbers[:, :, places]
        shares = (keys @ queries[row].float().unsqueeze(-1) * head**-0.5).softmax(dim=1)
        wanted.append((shares * values).sum(dim=1))
    attention = triton.TritonAttention()

    def off(rows: int, *, read: bool) -> float:
        asked, table = queries[:rows].to(device), tables[:rows].to(device)
        out = torch.full_like(asked, float("nan"))
        given = kept.to(device), None if scales is None else scales.to(device), asked, out, table
        if read:  # the same rows, as the last of a prompt each
            tiles = [(row, 1, end - 1, row) for row, end in enumerate(ends[:rows])]
            attention.read(*given, torch.tensor(tiles, dtype=torch.int32, device=device), 16)
        else:
            attention.look(*given, torch.tensor(ends[:rows], device=device), 16)
        return float((torch.stack(wanted[:rows]) - out.cpu().float()).abs().max())

    def error_in_looking() -> float:  # of each form in which it is shared out
        return float(torch.tensor([off(rows, read=False) for rows in (2, 3, 9, 33)]).max())

    tolerance = TOLERANCE if dtype is torch.float32 else HALF_TOLERANCE
    if not _serves(error_in_looking, tolerance):
        return None
    # In float32 there are no tensor cores for it, and torch's own products are faster.
    reads = dtype is not torch.float32 and _serves(lambda: off(3, read=True), tolerance)
    found: PagedAttention = triton.TritonAttention(reads=reads)
    return found


def find_operators(
    heads: int, head: int, rotary: int, dtype: torch.dtype, device: torch.device, kept: CacheDtype
) -> Operators | None:
    """Return what lies between products on a GPU; None where Triton does not serve."""
    triton = _triton("triton_operators", device)
    if triton is None:
        return None
    generator = torch.Generator().manual_seed(0)
    rows, width, inner = 3, heads * head, 1100
    joined = torch.randn(rows, 3 * width + inner, generator=generator).to(dtype)
    angles = torch.rand(rows, rotary // 2, generator=generator)
    turns = torch.polar(torch.ones_like(angles), angles)
    norm = torch.randn(4, rows, width, generator=generator).to(dtype).unbind()
    slots = torch.tensor([5, 0, 9])

    def found_by(operators: Operators, on: torch.device) -> list[Tensor]:
        cache = KVStore(heads, head, 1, dtype, [on], kept=kept).layers[0]
        both = joined.new_zeros(rows, width + inner, device=on)
        places = slots.to(on)
        asked = operators.spread(joined.to(on, copy=True), turns.to(on), places, cache, both, heads)
        hidden, added, weight, bias = (each.to(on, copy=True) for each in norm)
        sums = operators.norm(hidden, added, weight[0], bias[0], 1e-5)
        kept_numbers = cache.gather(places.unsqueeze(1))
        return [each.cpu().float() for each in (asked, both[:, width:], kept_numbers, *sums)]

    def error() -> float:
        wanted = found_by(TorchOperators(), torch.device("cpu"))
        found = found_by(triton.TritonOperators(), device)
        pairs = zip(found, wanted, strict=True)
        return float(torch.stack([(one - other).abs().max() for one, other in pairs]).max())

    tolerance = TOLERANCE if dtype is torch.float32 else HALF_TOLERANCE
    if kept is CacheDtype.INT8:  # a step of the largest number, where one is rounded otherwise
        tolerance += 5 / ACTIVATION_STEPS
    serves = _serves(error, tolerance)
    return triton.TritonOperators() if serves else None


def find_products(dtype: torch.dtype, device: torch.device) -> Products | None:
    """Return products of few rows on a GPU; None where Triton does not serve."""
    triton = _triton("triton_products", device)
    if triton is None:
        return None
    generator = torch.Generator().manual_seed(0)
    found: Products = triton.TritonProducts()

    def off_by(rows: int, width: int) -> float:
        outs = 200 if rows > 1 else 20
        weight = torch.randint(-127, 128, (outs, width), generator=generator).to(torch.int8)
        scales = torch.rand(outs, generator=generator) / 127
        bias = torch.randn(outs, generator=generator).to(dtype)
        asked = torch.randn(rows, width, generator=generator).to(dtype)
        wanted = asked.float() @ (weight * scales.unsqueeze(-1)).T + bias.float()
        given, on, by, added = (each.to(device) for each in (asked, weight, scales, bias))
        products = [found.multiply(given, on, by, added, late) for late in (0, 48)]
        if rows == 1:
            # Made here, since a product reads weights before the kernel in front of it has ended.
            numbers = (weight * scales.unsqueeze(-1)).to(dtype).to(device)
            products += [found.multiply(given, numbers, None, added, late) for late in (0, 48)]
            products.append(F.linear(given, found.widen(on, by, dtype), added))
        off = torch.stack([each.cpu().float() - wanted for each in products])
        return float(off.abs().max() / wanted.abs().max())

    def error() -> float:  # of each form in which it is compiled
        forms = (1, 160), (1, 8200), (3, 96), (3, 160), (21, 160), (40, 160)
        return float(torch.tensor([off_by(*each) for each in forms]).max())

    tolerance = TOLERANCE if dtype is torch.float32 else HALF_TOLERANCE
    return found if _serves(error, tolerance) else None


def _triton(name: str, device: torch.device) -> Any:
    """Return a module of kernels, or None."""
    if device.type != "cuda":
        return None
    if os.environ.get(SWITCH) == "off":
        log.info("kernels_absent", why=f"{SWITCH}=off")
        return None
    # Older ones Triton compiles for slowly, or ends the process in trying to.
    if torch.cuda.get_device_capability(device) < OLDEST:
        log.info("kernels_absent", why="the GPU is older than Ampere")
        return None
    try:
        return importlib.import_module(f"kogpt_bot.generation.{name}")
    except (ImportError, OSError) as missing:
        log.info("kernels_absent", why=str(missing))
        return None


def _serves(error: Callable[[], float], tolerance: float) -> bool:
    """Whether kernels compile for this GPU, and give what torch gives."""
    try:
        found = error()
    except Exception as failure:  # noqa: BLE001  # a compiler, a driver, a folder that is not there
        log.warning("kernels_unavailable", why=reason(failure))
        return False
    if not found < tolerance:
        log.warning("kernels_wrong", error=found)
        return False
    return True
