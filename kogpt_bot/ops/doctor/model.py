"""The model: its files are whole, it fits into memory, or its service answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kogpt_bot.config import GenerationSettings
from kogpt_bot.generation import limits
from kogpt_bot.ops.doctor import service
from kogpt_bot.ops.doctor.check import GIB, Check, failure, ok, warning
from kogpt_bot.ops.doctor.gpu import Probed
from kogpt_bot.ops.doctor.weights import Weights, files

KOGPT = "kakaobrain/kogpt"
KOGPT_REVISION = "KoGPT6B-ryan1.5b-float16"
KOGPT_WEIGHTS = Weights(6_166_502_400, "float16", 2 * 28 * 4096 * 2048)
KOGPT_MEMORY = "KoGPT needs a 16 GB GPU in half precision, 32 GB in full"
MINI = Path(__file__).parents[2] / "mini"
RESERVE = 1.05  # of the weights: what laying them out and a step need beside them


def checks(chosen: GenerationSettings, probed: Probed) -> Iterator[Check]:
    """Give the findings."""
    if chosen.url is not None:
        yield from service.checks(chosen)
        return
    if (device := _device(chosen.device, probed)) is not None:
        yield device
    weights = KOGPT_WEIGHTS if chosen.model == KOGPT else None
    folder = _folder(chosen)
    if isinstance(folder, Check):
        yield folder
    else:
        again = "reinstall kogpt-bot" if chosen.model == "mini" else "download the model again"
        found, read = files(folder, again)
        yield from found
        weights = read or weights
    if weights is not None:
        yield memory(weights, chosen, probed)


def _device(wanted: str, probed: Probed) -> Check | None:
    number = int(wanted.partition(":")[2] or 0)
    if not wanted.startswith("cuda") or number < len(probed.gpus):
        return None
    have = f"{len(probed.gpus)} CUDA devices" if probed.gpus else "no CUDA device"
    remedy = "set generation.device: auto, or look at the GPU above"
    return failure("device", f"{wanted}: this machine has {have}", remedy)


def _folder(chosen: GenerationSettings) -> Path | Check:
    """Return where the model's files are, or why there are none."""
    if chosen.model == "mini":
        return MINI
    try:
        folder = Path(chosen.model).expanduser()
    except RuntimeError:  # ~nobody
        folder = Path(chosen.model)
    if folder.is_dir():
        return folder
    if chosen.model.count("/") != 1 or chosen.model.startswith((".", "/", "~")):
        remedy = "set generation.model: mini, a folder, or a hub name"
        return failure("model", f"{chosen.model}: no such folder", remedy)
    return _cached(chosen)


def _cached(chosen: GenerationSettings) -> Path | Check:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    default = KOGPT_REVISION if chosen.model == KOGPT else "main"
    revision = chosen.revision or default
    try:
        path = try_to_load_from_cache(chosen.model, "config.json", revision=revision)
    except HFValidationError:
        remedy = "set generation.model: mini, a folder, or a hub name"
        return failure("model", f"{chosen.model} is no name of a hub model", remedy)
    if isinstance(path, str):
        return Path(path).parent
    finding = f"{chosen.model} at {revision} is not in the cache"
    return warning("model", finding, "it is downloaded at the first start")


def memory(weights: Weights, chosen: GenerationSettings, probed: Probed) -> Check:
    """Return whether weights and KV cache fit where the model runs, about as the loading will ask:
    it knows better what int8 weights take."""
    on_gpu = bool(probed.gpus) and chosen.device != "cpu"
    spread = sum(each.free for each in probed.gpus)  # what one cannot hold, several do
    free = spread if on_gpu else limits.free_memory()
    where = "on the GPUs" if on_gpu else "in main memory"

    def needs(size: int) -> float:
        kept = 1 if chosen.kv_cache_dtype == "int8" else size if on_gpu else 4  # bytes
        cache = (chosen.kv_cache_gib or 0) * GIB or weights.context_numbers * kept
        return weights.parameters * size * RESERVE + cache

    half, full = needs(2), needs(4)
    dtype = chosen.dtype if chosen.dtype != "auto" else weights.dtype
    # On a CPU, bfloat16 may be computed in full: it depends on the processor.
    needed = full if dtype == "float32" or not (on_gpu or dtype == "float16") else half
    finding = f"{free / GIB:.1f} GiB free {where}, {needed / GIB:.1f} GiB needed"
    if needed <= free:
        return ok("memory", finding)
    hint = f" ({KOGPT_MEMORY})" if chosen.model == KOGPT else ""
    if half <= free and (on_gpu or dtype == "float32"):
        return failure("memory", finding, f"set generation.dtype: float16{hint}")
    if half <= free:
        remedy = f"it fits only where the CPU has bfloat16: set generation.dtype: bfloat16{hint}"
        return warning("memory", finding, remedy)
    return failure("memory", finding, f"use a smaller model, or free or add memory{hint}")
