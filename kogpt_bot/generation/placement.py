"""Where a model goes and how precisely it is computed, by what the machine has."""

from __future__ import annotations

import structlog
import torch

from kogpt_bot.errors import ModelError
from kogpt_bot.generation import limits
from kogpt_bot.generation.checkpoint import KOGPT, KOGPT_MEMORY
from kogpt_bot.generation.kv_store import CacheDtype
from kogpt_bot.generation.linear import Quantization
from kogpt_bot.generation.model import Shape

log = structlog.get_logger(__name__)

GIB = 1 << 30
SMALL_BYTES = GIB  # a model under this in float32 is computed in float32 on a CPU
CACHE_RESERVE = 0.05  # of the weights: what must be left for a first conversation
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
) -> list[torch.device]:
    """Return the device of each layer; the last one's holds the head. ModelError if none fits."""
    on_gpu = device.type == "cuda"
    rounded = on_gpu and quantization is Quantization.INT8
    main = limits.free_memory()
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else main
    held = torch.int8 if rounded else dtype  # a CPU has them as they are, until they are laid out
    needed = _bytes_of(shape, dtype, rounded=rounded)
    whole = shape.parameters * dtype.itemsize
    if rounded and whole > main:
        raise ModelError(
            f"model {model!r} is read into the main memory before it is rounded to int8: that "
            f"needs {whole / GIB:.1f} GiB, {main / GIB:.1f} GiB are free"
        )
    if needed > free and on_gpu and torch.cuda.device_count() > 1:
        return _spread(shape, held)
    if needed > free:
        fits = "a smaller model, or a machine with more memory, would fit"
        if held.itemsize == 4 and _bytes_of(shape, torch.float16) <= free:
            fits = "float16 or bfloat16 would fit"
        elif on_gpu and whole <= main and _bytes_of(shape, dtype, rounded=True) <= free:
            fits = "quantization int8 would fit"
        extra = f" ({KOGPT_MEMORY})" if model == KOGPT else ""
        raise ModelError(
            f"model {model!r} needs {needed / GIB:.1f} GiB in {str(held).removeprefix('torch.')} "
            f"on {device}, {free / GIB:.1f} GiB are free; {fits}{extra}"
        )
    return [device] * shape.layers


def _bytes_of(shape: Shape, dtype: torch.dtype, *, rounded: bool = False) -> int:
    """Return what the weights take, with a reserve for a first conversation.

    In int8 the embedding stays as it is, and the head is as it was until it is rounded.
    """
    if rounded:
        table = shape.vocabulary * shape.width
        whole = table * dtype.itemsize if shape.tied else table * (2 * dtype.itemsize - 1)
        return int(shape.parameters * (1 + CACHE_RESERVE)) + whole
    return int(shape.parameters * dtype.itemsize * (1 + CACHE_RESERVE))


def read_to(placement: list[torch.device], quantization: Quantization) -> list[torch.device]:
    """Return where the weights of each layer are read to: its device, or the main memory if they
    are rounded for a GPU, which may not hold them as they are."""
    if quantization is Quantization.NONE:
        return placement
    return [torch.device("cpu")] * len(placement)


def _spread(shape: Shape, dtype: torch.dtype) -> list[torch.device]:
    """Spread the layers over every GPU by accelerate's device map."""
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
    memory = {
        n: int(torch.cuda.mem_get_info(n)[0] * (1 - CACHE_RESERVE))
        for n in range(torch.cuda.device_count())
    }
    devices = infer_auto_device_map(
        skeleton, memory, no_split_module_classes=["GPTJBlock"], dtype=dtype
    )
    placed = [devices.get(f"transformer.h.{n}", devices.get("")) for n in range(shape.layers)]
    if any(not isinstance(each, int) for each in placed):
        total = sum(memory.values()) / GIB
        raise ModelError(
            f"the model does not fit on {len(memory)} GPUs with {total:.1f} GiB free in all; "
            f"use fewer bits or more memory ({KOGPT_MEMORY})"
        )
    log.info("spread_over_gpus", layers=placed)
    return [torch.device("cuda", int(str(each))) for each in placed]
