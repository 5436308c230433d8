"""What the machine has: where to train, and in which precision."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Machine:
    """A device and the precision of its products."""

    device: torch.device
    precision: torch.dtype

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return what a forward pass runs under."""
        if self.precision is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)


def this_machine(threads: int | None = None) -> Machine:
    """Return the GPU where there is one, else the processor with `threads` threads.

    bf16 only where the hardware computes in it: a processor that emulates it took 2.5 times as
    long as in fp32.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine(torch.device("cuda"), torch.bfloat16 if native else torch.float32)
    capable = torch.cpu.get_capabilities()
    native = bool(capable.get("avx512_bf16") or capable.get("amx_bf16") or capable.get("bf16"))
    return Machine(torch.device("cpu"), torch.bfloat16 if native else torch.float32)
