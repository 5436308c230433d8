"""Compiled loops where torch's operators are slow on a CPU: an optional part, tried at start.

numba compiles them: `compiled.py`, `compiled_panels.py`, `compiled_rounding.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
import torch
from torch import Tensor

from kogpt_bot.generation.checkpoint import release_pages
from kogpt_bot.generation.operators import TorchOperators
from kogpt_bot.generation.rounding import PART_BYTES

log = structlog.get_logger(__name__)

TOLERANCE = 1e-4
SHARE = 1 << 16  # numbers: fewer are done with before another thread is awake
PRODUCTS = 16 * SHARE  # the same of numbers of a weight, times rows


class Kernels(TorchOperators):
    """The loops over torch's memory, shared out to threads. `operators.Operators`, and more."""

    def __init__(self, threads: int) -> None:
        """Raises ImportError where there is no numba, OSError where its compiler does not load."""
        from kogpt_bot.generation import compiled, compiled_panels, compiled_rounding

        self._loops, self._rounding, self._panels = compiled, compiled_rounding, compiled_panels
        self._threads = threads
        self._others = ThreadPoolExecutor(threads - 1, "kernels") if threads > 1 else None

    def rotate(self, joined: Tensor, turns: Tensor, parts: int, size: int) -> None:
        """Rotate in place; see `TorchOperators`."""
        given = joined.numpy(), turns.numpy(), parts, size
        self._share_rows(joined, self._loops.rotate, *given)

    def gelu(self, joined: Tensor, both: Tensor, width: int) -> None:
        """Write the GELU of what follows 3 width to what follows `width`."""
        self._share_rows(joined, self._loops.gelu, joined.numpy(), both.numpy(), width)

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
        self._share(heads, min(heads, self._threads), self._loops.look, *given)

    def product(
        self, weight: Tensor, scales: Tensor, bias: Tensor | None, weight_steps: int
    ) -> Callable[[Tensor], Tensor]:
        """Return the product of rows with a weight [outputs, size] in int8, plus `bias`."""
        loops, (outputs, size) = self._rounding, weight.shape
        panels = self._panels_of(weight, together=self._panels.PAIR)
        pairs, filled = panels.shape[1], len(panels) * self._panels.WIDTH
        by, added = self._filled(scales, filled), self._filled(bias, filled)
        largest = loops.largest_step(size, weight_steps)

        def multiply(rows: Tensor) -> Tensor:
            count = len(rows)
            steps = np.empty((count, pairs * self._panels.PAIR), np.int16)
            row_scales, sums = np.empty(count, np.float32), np.zeros((count, filled), np.int32)
            self._share_rows(rows, loops.to_int16, rows.numpy(), steps, row_scales, largest)
            given = steps.view(np.int32), panels, sums

            def part(first: int, last: int) -> None:
                self._panels.multiply(*given, first, last)
                width = self._panels.WIDTH
                loops.scale(sums, row_scales, by, added, first * width, last * width)

            self._share(len(panels), min(self._threads, count * panels.size // PRODUCTS), part)
            return torch.from_numpy(sums.view(np.float32))[:, :outputs].contiguous()

        return multiply

    def multiplies(self, dtype: torch.dtype) -> bool:
        """Whether `float_product` has weights of `dtype` and serves on this processor."""
        known = dtype in (torch.float32, torch.float16)
        return known and self._panels.serves(8 * dtype.itemsize)

    def float_product(
        self, weight: Tensor, bias: Tensor | None, *, give_back: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return the product of float32 rows with a weight [outputs, size] in float32 or float16,
        plus `bias`.

        With `give_back` the memory of `weight` is the system's again, part by part.
        """
        panels = self._panels_of(weight, give_back=give_back)
        added, outputs = self._filled(bias, panels.shape[0] * panels.shape[2]), len(weight)

        def multiply(rows: Tensor) -> Tensor:
            out = np.repeat(added[None], len(rows), axis=0)
            shares = min(self._threads, len(rows) * panels.size // PRODUCTS)
            given = rows.contiguous().numpy(), panels, out
            self._share(len(panels), shares, self._panels.multiply, *given)
            return torch.from_numpy(out)[:, :outputs].contiguous()

        return multiply

    def _panels_of(
        self, weight: Tensor, *, together: int = 1, give_back: bool = False
    ) -> npt.NDArray[Any]:
        """Return a copy of a weight [outputs, size] in panels; see `compiled_panels`.

        `together` neighbours of an output stay side by side, the last filled up with zeros.
        """
        width, (outputs, size) = self._panels.WIDTH, weight.shape
        places = -(-size // together)
        panels = weight.new_empty(-(-outputs // width), places, width * together)
        at_once = max(1, PART_BYTES // panels[0].nbytes)
        for begin in range(0, len(panels), at_once):
            part = weight[begin * width : (begin + at_once) * width]
            missing = (0, places * together - size, 0, -len(part) % width)
            whole = torch.nn.functional.pad(part, missing) if any(missing) else part
            own = whole.reshape(-1, width, places, together).transpose(1, 2)
            panels[begin : begin + at_once] = own.flatten(2)
            if give_back:
                release_pages(part)
        found: npt.NDArray[Any] = panels.numpy()  # numba knows no float16
        return found.view(np.int16) if weight.dtype is torch.float16 else found

    @staticmethod
    def _filled(numbers: Tensor | None, count: int) -> npt.NDArray[np.float32]:
        """Return numbers, and zeros for what `count` is more, or zeros only."""
        filled = np.zeros(count, np.float32)
        if numbers is not None:
            filled[: len(numbers)] = numbers.float().numpy()
        return filled

    def keep(self, new: Tensor, slots: Tensor, steps: Tensor, scales: Tensor) -> None:
        """Write new keys and values to an int8 cache; see `compiled.keep`."""
        given = new.numpy(), slots.numpy(), steps.numpy(), scales.numpy()
        self._share_rows(new, self._loops.keep, *given)

    def widen(self, steps: Tensor, scales: Tensor, begin: int, length: int) -> Tensor:
        """Return a run of keys or values of an int8 cache as numbers [heads, length, head]."""
        heads, _, size = steps.shape
        out = torch.empty(heads, length, size)
        given = steps.numpy(), scales.numpy(), out.numpy(), begin
        shares = min(heads, self._threads, out.numel() // SHARE)
        self._share(heads, shares, self._loops.widen, *given)
        return out

    def _share_rows(self, rows: Tensor, loop: Callable[..., Any], *given: Any) -> None:
        count = rows.shape[0]
        self._share(count, min(count, self._threads, rows.numel() // SHARE), loop, *given)

    def _share(self, count: int, shares: int, loop: Callable[..., Any], *given: Any) -> None:
        """Run `loop(*given, first, last)` over `count` things, each share on a thread."""
        if shares < 2:
            loop(*given, 0, count)
            return
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
        kernels = Kernels(torch.get_num_threads())
        errors = _error(kernels, cache), _operators_error(kernels)
    except (ImportError, OSError) as missing:
        log.info("kernels_absent", why=str(missing))
        return None
    except Exception as failure:  # noqa: BLE001  # another numba, another LLVM: they say many things
        log.warning("kernels_unavailable", why=reason(failure))
        return None
    if all(error < TOLERANCE for error in errors):  # NaN is not
        return kernels
    log.warning("kernels_wrong", errors=errors)
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
    return float(torch.cat([each.flatten() for each in off]).max())


def _operators_error(kernels: Kernels) -> float:
    """The same of what lies between a layer's products."""
    generator = torch.Generator().manual_seed(0)
    width, torch_own = 32, TorchOperators()
    joined = torch.randn(3, 5 * width, generator=generator)
    turns = torch.polar(torch.ones(3, 4), joined[:, :4].clone())
    results = []
    for operators in (kernels, torch_own):
        own, both = joined.clone(), torch.zeros(3, 3 * width)
        operators.rotate(own, turns, 4, width // 2)
        operators.gelu(own, both, width)
        results.append(torch.cat([own, both], dim=1))
    return float((results[0] - results[1]).abs().max())


def reason(failure: Exception) -> str:
    """Return a failure in one line: CUDA says the essential first, a compiler last."""
    lines = [line.strip() for line in str(failure).strip().splitlines()]
    said = lines if len(lines) < 2 else [lines[0], lines[-1]]
    return f"{type(failure).__name__}: {' ... '.join(said)}"
