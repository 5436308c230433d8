"""How Triton's kernels follow one another.

On Hopper and later a kernel may start before the one in front of it has ended (programmatic
dependent launch), so that its start costs no time; it waits by itself for what that one writes.
Every program of every kernel waits, so that what a kernel sees is complete however many are under
way. What the device has from before a step (weights, tables) may be read before the wait.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl

HOPPER = (9, 0)  # compute capability


@triton.jit
def let_next_start(EARLY: tl.constexpr):
    """Let the next kernel start, which waits for this one by itself."""
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def wait_for_last(EARLY: tl.constexpr):
    """Wait until the kernel in front has ended; what it wrote can be read from here on."""
    if EARLY:
        tl.extra.cuda.gdc_wait()


@functools.cache
def early(device: torch.device) -> dict[str, Any]:
    """Return the arguments of a launch on a device: whether it is such an early one."""
    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= HOPPER
    return {"EARLY": able, "launch_pdl": able} if able else {"EARLY": False}
