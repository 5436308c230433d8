"""Compiled loops where torch's operators are slow: an optional part, found and tried at start.

numba compiles them for a CPU (`compiled.py`), Triton for a GPU (`triton_kernels.py`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor

log = structlog.get_logger(__name__)

TOLERANCE = 1e-4
SWITCH = "KOGPT_BOT_GPU_KERNELS"  # off: torch's own operators on a GPU
OLDEST = (8, 0)  # compute capability
HALF_TOLERANCE = 2e-2  # a result in bfloat16 has 8 bits
SHARE = 1 << 16  # numbers: fewer are quantised sooner than another thread is awake


class Kernels:
    """The loops of `compiled.py` over torch's memory, shared out to threads."""

    def __init__(self, compiled: Any, threads: int) -> None:
        self._compiled = compiled
        self._threads = threads
        self._others = ThreadPoolExecutor(threads - 1, "kernels") if threads > 1 else None

    def look(
        self,
        cache: Tensor,
        queries: Tensor,
        out: Tensor,
        spans: Tensor,
        scales: Tensor | None = None,
    ) -> None:
        """Write what rows see to `out`; see `compiled.look`."""
        by = None if scales is None else scales.numpy()
        given = cache.numpy(), by, queries.numpy(), out.numpy(), spans.numpy()
        heads = queries.shape[1]
        self._share(heads, min(heads, self._threads), self._compiled.look, *given)

    def quantise(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows [n, size] as bytes around 128, and the largest number of each [n, 1]."""
        out, largest = torch.empty_like(rows, dtype=torch.uint8), rows.new_empty(len(rows), 1)
        given = rows.numpy(), out.numpy(), largest.view(-1).numpy()
        shares = min(len(rows), self._threads, rows.numel() // SHARE)
        self._share(len(rows), max(shares, 1), self._compiled.quantise, *given)
        return out, largest

    def keep(self, new: Tensor, slots: Tensor, steps: Tensor, scales: Tensor) -> None:
        """Write new keys and values to an int8 cache; see `compiled.keep`."""
        given = new.numpy(), slots.numpy(), steps.numpy(), scales.numpy()
        shares = min(len(new), self._threads, new.numel() // SHARE)
        self._share(len(new), max(shares, 1), self._compiled.keep, *given)

    def widen(self, steps: Tensor, scales: Tensor, begin: int, length: int) -> Tensor:
        """Return a run of keys or values of an int8 cache as numbers [heads, length, head]."""
        heads, _, size = steps.shape
        out = torch.empty(heads, length, size)
        given = steps.numpy(), scales.numpy(), out.numpy(), begin
        shares = min(heads, self._threads, out.numel() // SHARE)
        self._share(heads, max(shares, 1), self._compiled.widen, *given)
        return out

    def _share(self, count: int, shares: int, loop: Callable[..., Any], *given: Any) -> None:
        """Run `loop(*given, first, last)` over `count` things, each share on a thread."""
        bounds = [count * share // shares for share in range(shares + 1)]
        elsewhere: list[Future[Any]] = []
        if self._others is not None:
            pairs = itertools.pairwise(bounds[1:])
            elsewhere = [self._others.submit(loop, *given, *pair) for pair in pairs]
        loop(*given, 0, bounds[1])
        for each in elsewhere:
            each.result()


def find(
    dtype: torch.dtype, device: torch.device, cache: torch.dtype = torch.float32
) -> Kernels | None:
    """Return the kernels; None where they do not serve: no numba, another device or precision.

    `cache` is what keys and values are kept in, float32 or int8.
    """
    if device.type != "cpu" or dtype is not torch.float32:
        return None
    try:
        from kogpt_bot.generation import compiled
    except (ImportError, OSError) as missing:  # OSError: its compiler's library does not load
        log.info("kernels_absent", why=str(missing))
        return None
    kernels = Kernels(compiled, torch.get_num_threads())
    try:
        error = _error(kernels, cache)
    except compiled.FAILURES as failure:
        log.warning("kernels_unavailable", why=str(failure).splitlines()[0])
        return None
    if error < TOLERANCE:
        return kernels
    log.warning("kernels_wrong", error=error)
    return None


def _error(kernels: Kernels, kept: torch.dtype) -> float:
    """Return how far the kernels are from torch on a small case; this compiles them."""
    generator = torch.Generator().manual_seed(0)
    cache, scales = torch.randn(2, 2, 96, 16, generator=generator), None
    given, off = cache, []
    if kept is torch.int8:
        given, scales = torch.empty_like(cache, dtype=torch.int8), torch.empty(2, 2, 96)
        kernels.keep(cache.permute(2, 0, 1, 3), torch.arange(96), given, scales)
        kernels.keep(cache[:, :, :1].permute(2, 0, 1, 3).clone(), torch.arange(1), given, scales)
        back = torch.stack([kernels.widen(given[n], scales[n], 0, 96) for n in range(2)])
        off.append((back - cache).abs() - scales.unsqueeze(-1) * 0.5001)
        cache = given * scales.unsqueeze(-1)
    queries = torch.randn(2, 3, 2, 16, generator=generator)[:, 0]
    out = torch.empty(2, 3, 2, 16)[:, 0]
    spans = torch.tensor([[0, 2, 0, 70], [0, 1, 70, 1], [1, 2, 80, 9]])
    kernels.look(given, queries, out, spans, scales)
    # One row alone lies in memory in another way, for which the loops are compiled anew.
    alone = torch.tensor([[0, 1, 0, 70]])
    kernels.look(given, queries[:1].clone(), out[:1].clone(), alone, scales)
    for row, places in enumerate(((*range(71),), (*range(70), *range(80, 89)))):
        keys, values = cache[:, :, list(places)]
        shares = (keys @ queries[row].unsqueeze(-1) / 4).softmax(dim=1)
        off.append(((shares * values).sum(dim=1) - out[row]).abs())
    rows = torch.randn(3, 40, generator=generator)
    steps, largest = kernels.quantise(rows)
    off.append(((steps.float() - 128) / 127 * largest - rows).abs() - largest * 0.5001 / 127)
    return float(torch.cat([each.flatten() for each in off]).max())


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


def reason(failure: Exception) -> str:
    """Return a failure in one line: CUDA says the essential first, a compiler last."""
    lines = [line.strip() for line in str(failure).strip().splitlines()]
    said = lines if len(lines) < 2 else [lines[0], lines[-1]]
    return f"{type(failure).__name__}: {' ... '.join(said)}"
