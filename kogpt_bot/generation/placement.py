"""Where a model goes and how precisely it is computed, by what the machine has."""

from __future__ import annotations

import structlog
import torch

from kogpt_bot.errors import ModelError
from kogpt_bot.generation import limits
from kogpt_bot.generation.capacity import GIB, free_bytes, planned_bytes
from kogpt_bot.generation.checkpoint import KOGPT, KOGPT_MEMORY
from kogpt_bot.generation.kv_store import CacheDtype
from kogpt_bot.generation.linear import Quantization, computed_in
from kogpt_bot.generation.model import Shape

log = structlog.get_logger(__name__)

SMALL_BYTES = GIB  # a model under this in float32 is computed in float32 on a CPU
RESERVE = 0.05  # of the weights: what must be left for laying them out, and for a step
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def choose_device(wanted: str) -> torch.device:
    """Return the device; ModelError for one that is not there."""
    if wanted == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, number = wanted.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise ModelError(f"device {wanted!r}: allowed: auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count()
    if int(number or 0) >= count:
        have = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise ModelError(f"device {wanted!r}: this machine has {have}; allowed: auto, cpu")
    return torch.device("cuda", int(number or 0))


def choose_quantization(wanted: str) -> Quantization:
    """Return how weights are held; ModelError for what there is not."""
    try:
        return Quantization(wanted)
    except ValueError as error:
        allowed = ", ".join(Quantization)
        raise ModelError(f"quantization {wanted!r}: allowed: {allowed}") from error


def choose_cache_dtype(wanted: str) -> CacheDtype:
    """Return how keys and values are kept; ModelError for what there is not."""
    try:
        return CacheDtype(wanted)
    except ValueError as error:
        raise ModelError(f"kv_cache_dtype {wanted!r}: allowed: {', '.join(CacheDtype)}") from error


def choose_dtype(
    wanted: str, config: dict[str, object], shape: Shape, device: torch.device
) -> torch.dtype:
    """Return the precision to compute in: a GPU takes the checkpoint's, a CPU what it does well."""
    if wanted != "auto" and wanted not in DTYPES:
        raise ModelError(f"dtype {wanted!r}: allowed: auto, {', '.join(DTYPES)}")
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = DTYPES.get(stored if wanted == "auto" else wanted, torch.float32)
    if device.type == "cpu":
        small = shape.parameters * 4 < SMALL_BYTES
        # Half precision is computed in float32 from float16 weights, or natively in bfloat16.
        if wanted == "auto" and (small or (dtype is torch.bfloat16 and not _native_bfloat16())):
            dtype = torch.float32
    elif dtype is torch.bfloat16 and torch.cuda.get_device_capability(device) < (8, 0):
        log.warning("bfloat16_on_old_gpu", computed_in="torch.float16", needs="capability 8.0")
        dtype = torch.float16
    return dtype


def _native_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def place(
    shape: Shape,
    dtype: torch.dtype,
    device: torch.device,
    model: str,
    quantization: Quantization = Quantization.NONE,
    kept: CacheDtype = CacheDtype.AUTO,
    cache_gib: float | None = None,
) -> list[torch.device]:
    """Return the device of each layer; the last one's holds the head.

    The weights and the KV cache have to fit: of one context, or of the size that its owner wants.
    ModelError where they do not.
    """
    on_gpu = device.type == "cuda"
    rounded = on_gpu and quantization is Quantization.INT8
    held = torch.int8 if rounded else dtype  # a CPU has them as they are, until they are laid out
    main, free = limits.free_memory(), free_bytes(device)

    def cache(of: torch.dtype = dtype, gib: float | None = cache_gib) -> int:
        return planned_bytes(shape, computed_in(of, device, quantization), kept, gib)

    whole, needed = shape.parameters * dtype.itemsize, _bytes_of(shape, dtype, rounded) + cache()
    if rounded and whole > main:
        raise ModelError(
            f"model {model!r} is read into the main memory before it is rounded to int8: that "
            f"needs {whole / GIB:.1f} GiB, {main / GIB:.1f} GiB are free"
        )
    if needed <= free:
        return [device] * shape.layers
    if on_gpu and torch.cuda.device_count() > 1:
        return _spread(shape, held, cache() // shape.layers)
    in_half, in_int8 = _bytes_of(shape, torch.float16), _bytes_of(shape, dtype, rounded=True)
    would_fit = {
        "a smaller kv_cache_gib": needed - cache() + cache(gib=None) <= free,
        "float16 or bfloat16": held.itemsize == 4 and in_half + cache(torch.float16) <= free,
        "quantization int8": on_gpu and whole <= main and in_int8 + cache() <= free,
        "a smaller model, or a machine with more memory,": True,
    }
    extra = f" ({KOGPT_MEMORY})" if model == KOGPT else ""
    raise ModelError(
        f"model {model!r} needs {needed / GIB:.1f} GiB in {str(held).removeprefix('torch.')} on "
        f"{device}, {cache() / GIB:.1f} of them for keys and values, {free / GIB:.1f} GiB are "
        f"free; {next(each for each, fits in would_fit.items() if fits)} would fit{extra}"
    )


def _bytes_of(shape: Shape, dtype: torch.dtype, rounded: bool = False) -> int:
    """Return what the weights take, with a reserve.

    In int8 the embedding stays as it is, and the head is as it was until it is rounded.
    """
    if rounded:
        table = shape.vocabulary * shape.width
        whole = table * dtype.itemsize if shape.tied else table * (2 * dtype.itemsize - 1)
        return int(shape.parameters * (1 + RESERVE)) + whole
    return int(shape.parameters * dtype.itemsize * (1 + RESERVE))


def read_to(placement: list[torch.device], quantization: Quantization) -> list[torch.device]:
    """Return where the weights of each layer are read to: its device, or the main memory if they
    are rounded for a GPU, which may not hold them as they are."""
    if quantization is Quantization.NONE:
        return placement
    return [torch.device("cpu")] * len(placement)


def _spread(shape: Shape, dtype: torch.dtype, layer_cache: int) -> list[torch.device]:
    """Spread the layers over every GPU by accelerate's device map.

    Each GPU has room for `layer_cache` bytes of keys and values beside each of its layers.
    """
    from accelerate import infer_auto_device_map, init_empty_weights
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(
        vocab_size=shape.vocabulary,
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        rotary_dim=shape.rotary,
        n_inner=shape.inner,
    )
    with init_empty_weights():
        skeleton = GPTJForCausalLM(config)
    free = [free_bytes(torch.device("cuda", n)) for n in range(torch.cuda.device_count())]
    # The map knows of weights only. With this share of a GPU for them, the rest is enough for the
    # caches of as many layers as fit.
    layer = shape.layer_parameters * dtype.itemsize
    share = (1 - RESERVE) * layer / (layer + layer_cache)
    memory = {n: int(each * share) for n, each in enumerate(free)}
    devices = infer_auto_device_map(
        skeleton, memory, no_split_module_classes=["GPTJBlock"], dtype=dtype
    )
    placed = [devices.get(f"transformer.h.{n}", devices.get("")) for n in range(shape.layers)]
    if any(not isinstance(each, int) for each in placed):
        raise ModelError(
            f"the model and its keys and values do not fit on {len(free)} GPUs with "
            f"{sum(free) / GIB:.1f} GiB free in all; use fewer bits, a smaller kv_cache_gib or "
            f"more memory ({KOGPT_MEMORY})"
        )
    log.info("spread_over_gpus", layers=placed)
    return [torch.device("cuda", int(str(each))) for each in placed]
