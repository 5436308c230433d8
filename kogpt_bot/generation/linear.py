"""Matrix products with weights that are laid out once for the kernel that multiplies them.

Which kernel is fastest depends on the processor and the precision. Compiled loops may not compile,
and the operators used here are semi-private to torch: `prepare` tries what it chose on a small
product first, and falls back to the next best, at last to `F.linear`.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog
import torch
import torch.nn.functional as F
from torch import Tensor

from kogpt_bot.generation.checkpoint import release_pages
from kogpt_bot.generation.gpu_kernels import Products, find_products
from kogpt_bot.generation.kernels import Kernels, reason
from kogpt_bot.generation.rounding import (
    ACTIVATION_STEPS,
    ACTIVATION_ZERO,
    PART_BYTES,
    parts_of,
    quantise,
    rounded_weight,
)

log = structlog.get_logger(__name__)

PROBE_TOLERANCE = {  # of the largest result; a wrong layout is off by the whole of it
    "plain": 1e-4,
    "packed": 0.02,  # bfloat16 has 8 bits
    "half": 0.002,
    "int8": 0.05,
    "weight_only": 0.05,
}
WEIGHT_STEPS = 127
FEWER_STEPS = 63
WIDENED_BYTES = 128 << 20  # of an int8 weight that a kernel widens at once, to twice that
FEW_ROWS = 64  # for which reading the weights takes longer than multiplying


class Quantization(enum.StrEnum):
    """How weights are held for multiplying."""

    NONE = "none"  # as loaded
    # 8 bits a weight, one scale an output; on a CPU rows in whole numbers too, one scale a row
    INT8 = "int8"


class Linear(Protocol):
    """A product with a weight [out, in]: rows [n, in] in, rows [n, out] out."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        ...


class PlainLinear:
    """`F.linear`: works everywhere. `dtype` is the rows', where it is not the weight's."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, dtype: torch.dtype | None = None
    ) -> None:
        self._weight = weight.to(dtype or weight.dtype)
        self._bias = None if bias is None else bias.to(dtype or bias.dtype)

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


class PanelLinear:
    """Loops of our own with float32 or float16 weights and float32 rows: a row's result is the
    same whatever shares its batch."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        kernels: Kernels,
        give_back: bool = False,
    ) -> None:
        self._product = kernels.float_product(weight, bias, give_back=give_back)

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        return self._product(rows)


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


@functools.cache
def weight_steps() -> int:
    """Return how many steps a weight of Int8Linear may have on each side of zero here.

    Without VNNI a processor (AVX2, AVX-512 before 2019) adds products in pairs, in 16 bits that
    stay at their largest: 2 x 255 x 63 fits, 2 x 255 x 127 does not. So it gets 7 bits a weight.
    """
    size = 256
    try:
        product = Int8Linear(torch.ones(size, size), steps=WEIGHT_STEPS)
        sums = [product(torch.ones(rows, size)) for rows in (1, 16)]  # each has a loop of its own
    except (RuntimeError, AttributeError, NotImplementedError):
        return WEIGHT_STEPS  # there is no such product at all
    whole = all(bool(torch.all((each / size - 1).abs() < 0.01)) for each in sums)
    return WEIGHT_STEPS if whole else FEWER_STEPS


class Int8Linear:
    """oneDNN in whole numbers: 8-bit weights, and rows that are 8-bit on the way in.

    Each row has its own scale, so that it does not change with what shares its batch.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        steps: int | None = None,
        give_back: bool = False,
    ) -> None:
        steps = steps or weight_steps()
        rounded, self._scales = rounded_weight(weight, steps, give_back=give_back)
        self._zeros = torch.zeros(len(weight)).long()
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._bias = None if bias is None else bias.float()

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        steps, largest = quantise(rows)
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


class Int16RowsLinear:
    """Loops of our own in whole numbers: 8-bit weights as they are, rows of up to 16 bits.

    A row has a scale of its own here too, and finer steps than in 8 bits: a few loud numbers of it
    (a large model has some in every row, Dettmers et al. 2022) leave the others their place.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        kernels: Kernels,
        give_back: bool = False,
    ) -> None:
        rounded, scales = rounded_weight(weight, WEIGHT_STEPS, give_back=give_back)
        self._product = kernels.product(rounded, scales, bias, WEIGHT_STEPS)

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        return self._product(rows)


class RowLinear(PlainLinear):
    """`F.linear`, but for a row that comes alone: our own kernel reads the weights faster."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, products: Products, late: int = 0
    ) -> None:
        super().__init__(weight, bias)
        self._products = products
        self._late = late

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        if len(rows) == 1:
            return self._products.multiply(rows, self._weight, None, self._bias, self._late)
        return super().__call__(rows)


class WeightOnlyLinear:
    """8-bit weights and whole rows, for a GPU, where few rows wait for the weights to be read.

    `products` widen them as they read them; without it, and for the many rows of a prompt, all are
    widened before the product.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        products: Products | None = None,
        late: int = 0,
        give_back: bool = False,
    ) -> None:
        self._late = late
        self._steps, self._scales = rounded_weight(weight, WEIGHT_STEPS, give_back=give_back)
        self._bias = bias
        self._products = products
        self._at_once = PART_BYTES if products is None else WIDENED_BYTES

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply."""
        if self._products is not None and len(rows) <= FEW_ROWS:
            return self._products.multiply(rows, self._steps, self._scales, self._bias, self._late)
        parts = [
            F.linear(rows, self._widened(part, self._scales[begin : begin + len(part)], rows.dtype))
            for begin, part in parts_of(self._steps, self._at_once)
        ]
        product = torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
        return product if self._bias is None else product.add_(self._bias)

    def _widened(self, part: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        if self._products is not None:
            return self._products.widen(part, scales, dtype)
        return (part * scales.unsqueeze(1)).to(dtype)


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
    "weight_only": WeightOnlyLinear,
}
IN_PANELS = (PackedLinear, HalfLinear)  # whose place loops of our own take
AS_THEY_ARE = (PlainLinear, RowLinear)  # these lay nothing out
BY_THEMSELVES = (PanelLinear, Int8Linear, Int16RowsLinear, WeightOnlyLinear)  # part by part


def choose(dtype: torch.dtype, device: torch.device, quantization: Quantization) -> str:
    """Return the kind of product that serves best for weights of `dtype` on `device`."""
    if device.type != "cpu":
        return "weight_only" if quantization is Quantization.INT8 else "plain"
    if quantization is Quantization.INT8:
        return "int8"
    return "half" if dtype is torch.float16 else "packed"


def computed_in(
    dtype: torch.dtype, device: torch.device, quantization: Quantization
) -> torch.dtype:
    """Return the precision of what is multiplied with weights of `dtype`."""
    # These multiply with float32 rows, whatever the weights are held in.
    in_float32 = choose(dtype, device, quantization) in ("half", "int8")
    return torch.float32 if in_float32 else dtype


def prepare(
    name: str, dtype: torch.dtype, device: torch.device, kernels: Kernels | None = None
) -> Kind:
    """Return the kind of product: loops of our own where `kernels` have them, torch's operator
    where they do not serve here, `F.linear` where that is missing too."""
    kind = KINDS[name]
    if device.type != "cpu":  # torch's own operators, but for what is tried there
        products = find_products(dtype, device)
        if kind is WeightOnlyLinear:
            return functools.partial(WeightOnlyLinear, products=products)
        if products is not None:
            return functools.partial(RowLinear, products=products)
    if name == "plain":
        return kind
    kinds: list[Kind] = [kind]
    if kernels is not None and kind is Int8Linear:
        kinds.insert(0, functools.partial(Int16RowsLinear, kernels=kernels))
    elif kernels is not None and kind in IN_PANELS and kernels.multiplies(dtype):
        kinds.insert(0, functools.partial(PanelLinear, kernels=kernels))
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(80, 90, generator=generator)
    rows = torch.randn(10, 90, generator=generator)
    few = rows[:1], rows[1:4], rows[4:]  # each has a loop of its own
    wanted = rows @ weight.to(dtype).float().T
    inner = dtype if name == "packed" else torch.float32
    for each in kinds:
        called = getattr(each, "func", each).__name__
        try:
            product = each(weight.to(dtype), None)
            found = torch.cat([product(part.to(inner)) for part in few]).float()
        except Exception as failure:  # noqa: BLE001  # torch's operators and compilers say many things
            log.warning("linear_unavailable", kind=called, why=reason(failure))
            continue
        error = float((found - wanted).abs().max() / wanted.abs().max())
        if error < PROBE_TOLERANCE[name]:
            return each
        log.warning("linear_wrong", kind=called, error=error)
    return PlainLinear if inner is dtype else functools.partial(PlainLinear, dtype=inner)


def for_late(kind: Kind, late: int) -> Kind:
    """Return the kind for rows whose first `late` numbers come late (`Products.multiply`), if it
    is one that makes use of that."""
    able = getattr(kind, "func", kind) in (RowLinear, WeightOnlyLinear)
    return functools.partial(kind, late=late) if able else kind


def in_parts(kind: Kind, weight: Tensor, bias: Tensor | None, *, give_back: bool) -> Linear:
    """Return the product with a weight of any size, laid out in parts where it is large.

    With `give_back` each part's memory is the system's again once it is laid out: `weight` holds
    nothing any more then.
    """
    called = getattr(kind, "func", kind)
    if called in AS_THEY_ARE or weight.nbytes <= PART_BYTES:
        return kind(weight, bias)
    if called in BY_THEMSELVES:
        return kind(weight, bias, give_back=give_back)
    parts: list[Linear] = []
    for begin, part in parts_of(weight):
        parts.append(kind(part, None if bias is None else bias[begin : begin + len(part)]))
        if give_back:
            release_pages(part)
    return PartedLinear(parts)


def _tensor(result: Any) -> Tensor:
    if not isinstance(result, Tensor):
        raise TypeError(f"a product gave {type(result).__name__}")
    return result
