"""How large the KV cache is: by what is free, or as its owner says; one context at least."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

import torch

from kogpt_bot.errors import ModelError
from kogpt_bot.generation import limits
from kogpt_bot.generation.kv_blocks import BLOCK, blocks_of
from kogpt_bot.generation.kv_store import CacheDtype, bytes_per_token, pinned_bytes
from kogpt_bot.generation.model import GPTJ, Shape

GIB = 1 << 30
CACHE_SHARE = 0.5  # of the free memory, at most, for keys and values
HOST_SHARE = 0.25  # of the host's free memory, at most, for idle channels of a GPU
CONTEXTS = 4  # of each sequence that runs at once: a larger cache keeps little that is asked for


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a device."""
    if device.type != "cuda":
        return limits.free_memory()
    torch.cuda.empty_cache()  # what quantising took is free, but torch keeps it
    return torch.cuda.mem_get_info(device)[0]


def least_blocks(context: int) -> int:
    """Return the blocks of one sequence of the whole context, and one for its beginning."""
    return blocks_of(context) + 1


def planned_bytes(shape: Shape, dtype: torch.dtype, kept: CacheDtype, gib: float | None) -> int:
    """Return the memory that the cache takes at least, or that its owner wants it to take.

    `dtype` is what is computed in. ModelError where the wish, in GiB, is less than one context.
    """
    layer = bytes_per_token(shape.heads, shape.head, dtype, kept)
    least = least_blocks(shape.context) * BLOCK * shape.layers * layer
    if gib is None:
        return least
    if not gib * GIB >= least:
        raise ModelError(
            f"kv_cache_gib {gib:g}: allowed: {(least + GIB // 1000) / GIB:.3f} at least, since one "
            "whole context of this model takes that, or null"
        )
    return int(gib * GIB)


def device_tokens(model: GPTJ, max_sequences: int) -> int:
    """Return the tokens that the cache holds by what is free where each layer is computed."""
    layer = sum(model.cache_tensors)
    fitting = min(
        int(free_bytes(device) * CACHE_SHARE) // (layers * layer)
        for device, layers in Counter(model.devices).items()
    )
    return min(fitting, CONTEXTS * max_sequences * model.shape.context)


def host_tokens(model: GPTJ, max_sequences: int) -> int:
    """Return the tokens that host memory holds by what is free there: see `pinned_tokens`."""
    most = CONTEXTS * max_sequences * model.shape.context
    return min(pinned_tokens(model, int(limits.free_memory() * HOST_SHARE)), most)


def wished_tokens(model: GPTJ, gib: float | None) -> int | None:
    """Return the tokens of a cache of so many GiB, which `planned_bytes` has checked."""
    return None if gib is None else int(gib * GIB) // model.cache_bytes_per_token


def wished_host_tokens(model: GPTJ, gib: float | None) -> int | None:
    """Return the tokens of so many GiB of host memory; ModelError where less is free.

    None where they are to be chosen; 0 where the host's memory is the device's own.
    """
    if gib is None or model.devices[0].type != "cuda":
        return None if gib is None else 0
    free = limits.free_memory()
    if not 0 <= gib * GIB <= free:
        raise ModelError(
            f"host_cache_gib {gib:g}: allowed: 0 to {free / GIB:.1f}, which are free, or null"
        )
    return pinned_tokens(model, int(gib * GIB))


def pinned_tokens(model: GPTJ, budget: int) -> int:
    """Return the tokens that so many bytes of pinned host memory hold: 0 where that is the device's
    own."""
    if model.devices[0].type != "cuda":
        return 0
    blocks = range(1, budget // (model.cache_bytes_per_token * BLOCK) + 1)
    layers, tensors = len(model.devices), model.cache_tensors
    return BLOCK * bisect_right(blocks, budget, key=lambda n: layers * pinned_bytes(n, tensors))
