"""Kernels of our own for a GPU: an optional part, found and tried at start.

Triton compiles them (`triton_kernels.py`); torch's operators do the same where it does not serve.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor

from kogpt_bot.generation.kernels import reason

log = structlog.get_logger(__name__)

SWITCH = "KOGPT_BOT_GPU_KERNELS"  # off: torch's own operators on a GPU
OLDEST = (8, 0)  # compute capability
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2  # a result in bfloat16 has 8 bits


class PagedLook(Protocol):
    """Attention of rows that write, over blocks wherever they lie; see `triton_kernels.look`."""

    def __call__(
        self,
        numbers: Tensor,
        scales: Tensor | None,
        queries: Tensor,
        out: Tensor,
        tables: Tensor,
        ends: Tensor,
        block: int,
    ) -> None:
        """Write what rows see to `out`."""
        ...


class Multiply(Protocol):
    """A product with int8 weights; see `triton_kernels.multiply`."""

    def __call__(self, rows: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply."""
        ...


def find_paged(
    heads: int, head: int, dtype: torch.dtype, device: torch.device, cache: torch.dtype
) -> PagedLook | None:
    """Return attention over blocks on a GPU; None where Triton does not serve.

    `dtype` is what is computed with, `cache` what keys and values are kept in.
    """
    triton = _triton(device)
    if triton is None:
        return None
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, heads, 20 * 16, head, generator=generator)
    scales, kept = None, numbers.to(dtype)
    if cache is torch.int8:
        scales = numbers.abs().amax(-1) / 127
        kept = (numbers / scales.unsqueeze(-1)).round().to(torch.int8)
    numbers = kept * scales.unsqueeze(-1) if scales is not None else kept.float()
    queries = torch.randn(2, 3, heads, head, generator=generator).to(dtype)[:, 0]
    tables = torch.stack([torch.randperm(20, generator=generator) for _ in range(2)])
    ends = torch.tensor([300, 7], dtype=torch.int32)  # one is shared by two programs

    def error() -> float:
        out = torch.empty_like(queries, device=device)
        given = (None if each is None else each.to(device) for each in (kept, scales, queries))
        triton.look(*given, out, tables.to(device), ends.to(device), 16)
        worst = 0.0
        for row, end in enumerate(ends.tolist()):
            places = [int(tables[row, at // 16]) * 16 + at % 16 for at in range(end)]
            keys, values = numbers[:, :, places]
            shares = (keys @ queries[row].float().unsqueeze(-1) * head**-0.5).softmax(dim=1)
            off = (shares * values).sum(dim=1) - out[row].cpu().float()
            worst = max(worst, float(off.abs().max()))
        return worst

    tolerance = TOLERANCE if dtype is torch.float32 else HALF_TOLERANCE
    found: PagedLook | None = triton.look if _serves(error, tolerance) else None
    return found


def find_multiply(dtype: torch.dtype, device: torch.device) -> Multiply | None:
    """Return the product with int8 weights on a GPU; None where Triton does not serve."""
    triton = _triton(device)
    if triton is None:
        return None
    generator = torch.Generator().manual_seed(0)

    def off_by(rows: int, outs: int) -> float:
        weight = torch.randint(-127, 128, (outs, 160), generator=generator).to(torch.int8)
        scales = torch.rand(outs, generator=generator) / 127
        bias = torch.randn(outs, generator=generator).to(dtype)
        asked = torch.randn(rows, 160, generator=generator).to(dtype)
        given = (each.to(device) for each in (asked, weight, scales, bias))
        wanted = asked.float() @ (weight * scales.unsqueeze(-1)).T + bias.float()
        off = triton.multiply(*given).cpu().float() - wanted
        return float(off.abs().max() / wanted.abs().max())

    def error() -> float:  # of each form in which it is compiled
        forms = itertools.product((3, 21, 40), (72, triton.MANY_OUTS + 8))
        return max(off_by(*form) for form in forms)

    tolerance = TOLERANCE if dtype is torch.float32 else HALF_TOLERANCE
    found: Multiply | None = triton.multiply if _serves(error, tolerance) else None
    return found


def _triton(device: torch.device) -> Any:
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
        from kogpt_bot.generation import triton_kernels
    except (ImportError, OSError) as missing:
        log.info("kernels_absent", why=str(missing))
        return None
    return triton_kernels


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
