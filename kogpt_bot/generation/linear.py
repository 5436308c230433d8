"""Matrix products with weights that are laid out once for the kernel that multiplies them.

Which kernel is fastest depends on the processor and the precision. The operators used here are
semi-private to torch: `prepare` tries the chosen one on a small product first, and falls back to
`F.linear`.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import structlog
import torch
import torch.nn.functional as F
from torch import Tensor

from kogpt_bot.generation.checkpoint import release_pages
from kogpt_bot.generation.kernels import Kernels

log = structlog.get_logger(__name__)

PROBE_TOLERANCE = {  # of the largest result; a wrong layout is off by the whole of it
    "plain": 1e-4,
    "packed": 0.02,  # bfloat16 has 8 bits
    "half": 0.002,
    "int8": 0.05,
}
PART_BYTES = 32 << 20  # of a weight that is laid out in parts
ACTIVATION_STEPS = 127  # of an int8 activation on each side of zero
ACTIVATION_ZERO = 128
QUIET = 1e-30  # a row of zeros is divided by this


class Quantization(enum.StrEnum):
    """How weights are held for multiplying."""

    NONE = "none"  # as loaded
    INT8 = "int8"  # 8 bits a weight, one scale an output; activations 8 bits, one scale a row


class Linear(Protocol):
    """A product with a weight [out, in]: rows [n, in] in, rows [n, out] out."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        ...


class PlainLinear:
    """`F.linear`: works everywhere."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        return F.linear(rows, self._weight, self._bias)


class PackedLinear:
    """oneDNN with the weight in the layout that it likes best, float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        return _tensor(
            torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
        )


class HalfLinear:
    """fbgemm with float16 weights and float32 rows: half the memory on any processor."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        torch.backends.quantized.engine = "fbgemm"
        self._packed = torch.ops.quantized.linear_prepack_fp16(
            weight.float(), None if bias is None else bias.float()
        )

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        return _tensor(torch.ops.quantized.linear_dynamic_fp16(rows, self._packed))


Quantise = Callable[[Tensor], tuple[Tensor, Tensor]]


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [n, size] as bytes around ACTIVATION_ZERO, and the largest number of each."""
    # Two maxima: a maximum of absolutes is not vectorised in one go, and 20 times slower.
    largest = torch.maximum(rows.amax(-1, keepdim=True), rows.amin(-1, keepdim=True).neg_())
    largest.clamp_(min=QUIET)
    steps = rows * (ACTIVATION_STEPS / largest)
    return steps.add_(ACTIVATION_ZERO + 0.5).to(torch.uint8), largest


class Int8Linear:
    """oneDNN in whole numbers (VNNI): 8-bit weights, and rows that are 8-bit on the way in.

    Each row has its own scale, so that it does not change with what shares its batch.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        quantise: Quantise = quantise,
        give_back: bool = False,
    ) -> None:
        rounded = torch.empty_like(weight, dtype=torch.int8)
        self._scales, self._zeros = torch.empty(len(weight)), torch.zeros(len(weight)).long()
        for begin, part in _parts(weight):
            scales = part.float().abs().amax(dim=1).clamp_(min=QUIET) / ACTIVATION_STEPS
            rounded[begin : begin + len(part)] = (part.float() / scales.unsqueeze(1)).round_()
            self._scales[begin : begin + len(part)] = scales
            if give_back:
                release_pages(part)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._bias = None if bias is None else bias.float()
        self._quantise = quantise

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        steps, largest = self._quantise(rows)
        product = _tensor(
            torch.ops.onednn.qlinear_pointwise(
                steps, 1 / ACTIVATION_STEPS, ACTIVATION_ZERO,
                self._packed, self._scales, self._zeros,
                None, 1.0, 0, torch.float32, "none", [], "",
            )
        )  # fmt: skip
        if self._bias is None:
            return product.mul_(largest)
        return torch.addcmul(self._bias, product, largest, out=product)


class PartedLinear:
    """A product in parts: a large weight is laid out one by one, so that little is held twice."""

    def __init__(self, parts: Sequence[Linear]) -> None:
        self._parts = parts

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        return torch.cat([part(rows) for part in self._parts], dim=-1)


Kind = Callable[..., Linear]  # of a weight and its bias or None
KINDS: dict[str, Kind] = {
    "plain": PlainLinear,
    "packed": PackedLinear,
    "half": HalfLinear,
    "int8": Int8Linear,
}


def choose(dtype: torch.dtype, device: torch.device, quantization: Quantization) -> str:
    """Return the kind of product that serves best for weights of `dtype` on `device`."""
    if device.type != "cpu":
        return "plain"
    if quantization is Quantization.INT8:
        return "int8"
    return "half" if dtype is torch.float16 else "packed"


def prepare(name: str, dtype: torch.dtype, kernels: Kernels | None = None) -> Kind:
    """Return the kind of product, or `F.linear` where this processor or this torch lacks it."""
    kind = KINDS[name]
    if kind is Int8Linear and kernels is not None:
        kind = functools.partial(Int8Linear, quantise=kernels.quantise)
    if name == "plain":
        return kind
    generator = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(64, 96, generator=generator), torch.randn(3, 96, generator=generator)
    wanted = weight.to(dtype).float() @ rows.T
    try:
        inner = dtype if name == "packed" else torch.float32
        found = kind(weight.to(dtype), None)(rows.to(inner)).float().T
        error = float((found - wanted).abs().max() / wanted.abs().max())
    except (RuntimeError, AttributeError, NotImplementedError) as failure:
        log.warning("linear_unavailable", kind=name, why=str(failure).splitlines()[0])
        return PlainLinear
    if not error < PROBE_TOLERANCE[name]:
        log.warning("linear_wrong", kind=name, error=error)
        return PlainLinear
    return kind


def in_parts(kind: Kind, weight: Tensor, bias: Tensor | None, *, give_back: bool) -> Linear:
    """Return the product with a weight of any size, laid out in parts where it is large.

    With `give_back` each part's memory is the system's again once it is laid out: `weight` holds
    nothing any more then.
    """
    if kind is PlainLinear or weight.nbytes <= PART_BYTES:
        return kind(weight, bias)
    if getattr(kind, "func", kind) is Int8Linear:  # in parts by itself
        return kind(weight, bias, give_back=give_back)
    parts: list[Linear] = []
    for begin, part in _parts(weight):
        parts.append(kind(part, None if bias is None else bias[begin : begin + len(part)]))
        if give_back:
            release_pages(part)
    return PartedLinear(parts)


def _parts(weight: Tensor) -> Iterator[tuple[int, Tensor]]:
    size = max(1, PART_BYTES // weight[0].nbytes)
    for begin in range(0, len(weight), size):
        yield begin, weight[begin : begin + size]


def _tensor(result: Any) -> Tensor:
    if not isinstance(result, Tensor):
        raise TypeError(f"a product gave {type(result).__name__}")
    return result
