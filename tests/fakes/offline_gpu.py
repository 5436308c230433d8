"""Compile Triton's kernels for GPUs that are not there, as the engine calls them for KoGPT.

`python -m tests.fakes.offline_gpu 80 90` prints a line for each: capability, name, and the bytes of
shared memory that a program takes. It needs a process without TRITON_INTERPRET.
"""

import inspect
import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from kogpt_bot.generation import triton_attention, triton_operators, triton_products
from kogpt_bot.generation.kv_blocks import BLOCK
from kogpt_bot.generation.kv_store import FullCache, Int8Cache
from kogpt_bot.generation.linear import FEW_ROWS

HEADS, HEAD, ROTARY, INNER, CONTEXT = 16, 256, 64, 16384, 2048
WIDTH = HEADS * HEAD
MODULES = triton_attention, triton_operators, triton_products
HOPPER = 90


class Driver:
    """What Triton asks of a driver before it compiles; a device's number is its capability."""

    def __init__(self, capability):
        self._capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self._capability, 32)

    def get_current_device(self):
        return self._capability

    def get_current_stream(self, _device=None):
        return 0


def tensor(*size, dtype=torch.float16):
    """Return one without memory."""
    return torch.empty(size, dtype=dtype, device="meta")


def call_all():
    """Do once what the engine does."""
    attention, operators = triton_attention.TritonAttention(), triton_operators.TritonOperators()
    products = triton_products.TritonProducts()
    for kind in (FullCache, Int8Cache):
        cache = kind(HEADS, HEAD, CONTEXT, torch.float16, torch.device("meta"))
        numbers, *scales = cache.tensors
        joined, both = tensor(5, 3 * WIDTH + INNER), tensor(5, WIDTH + INNER)
        turns, slots = tensor(5, ROTARY // 2, dtype=torch.complex64), tensor(5, dtype=torch.long)
        queries = operators.spread(joined, turns, slots, cache, both, HEADS)
        out = both[:, :WIDTH].view(5, HEADS, HEAD)
        kept = numbers, scales[0] if scales else None, queries, out
        tables = tensor(5, CONTEXT // BLOCK, dtype=torch.long)
        attention.read(*kept, tables, tensor(5, 4, dtype=torch.int32), BLOCK)
        for rows in (1, 32)[: 2 - bool(scales)]:  # each is shared out in a way of its own
            queries, out = tensor(rows, HEADS, HEAD), tensor(rows, HEADS, HEAD)
            on = tensor(rows, CONTEXT // BLOCK, dtype=torch.long)
            attention.look(*kept[:2], queries, out, on, tensor(rows, dtype=torch.long), BLOCK)
    for added in (None, tensor(5, WIDTH)):
        operators.norm(tensor(5, WIDTH), added, tensor(WIDTH), tensor(WIDTH), 1e-5)
    for outs, width in ((3 * WIDTH + INNER, WIDTH), (WIDTH, WIDTH + INNER)):
        weight, bias = tensor(outs, width, dtype=torch.int8), tensor(outs)
        scales = tensor(outs, dtype=torch.float32)
        products.multiply(tensor(1, width), weight, scales, bias)
        products.multiply(tensor(1, width), tensor(outs, width), None, bias)
    products.multiply(tensor(1, width), weight, scales, bias, WIDTH)
    products.multiply(tensor(FEW_ROWS, width), weight, scales, bias)
    products.widen(weight, scales, torch.float16)


def main():
    run, compiled = JITFunction.run, set()

    def compile_only(self, *arguments, grid, warmup, **options):
        kernel = run(self, *arguments, grid=grid, warmup=True, **options)
        compiled.add((self.__name__, kernel.metadata.shared))

    JITFunction.run = compile_only
    for capability in map(int, sys.argv[1:]):
        driver.set_active(Driver(capability))
        able = capability >= HOPPER
        for module in MODULES:
            module.early = lambda _device, able=able: {"EARLY": able, "launch_pdl": able}
        compiled.clear()
        call_all()
        for name, shared in sorted(compiled):
            print(capability, name, shared)
    if missing := launched() - {name for name, _ in compiled}:
        sys.exit(f"not compiled: {', '.join(sorted(missing))}")


def launched():
    """Return the names of the kernels that are launched; others are parts of these."""
    found = set()
    for module in MODULES:
        names = {name for name, each in vars(module).items() if isinstance(each, JITFunction)}
        source = inspect.getsource(module)
        found |= {name for name in names if f" {name}[" in source}
    return found


if __name__ == "__main__":
    main()
