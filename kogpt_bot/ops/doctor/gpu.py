"""The GPUs, as torch sees them; asked in a process of their own, since torch is slow to import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from kogpt_bot.ops.doctor.check import GIB, Check, ok, warning
from kogpt_bot.ops.doctor.check import failure as failed

PROBE_S = 60.0  # importing torch from a cold disk
HALF = (7, 0)  # Volta: the first with fast half precision
BFLOAT16 = (8, 0)  # Ampere
PROBE = """
import json, torch
gpus = [dict(name=torch.cuda.get_device_name(n), capability=torch.cuda.get_device_capability(n),
             free=torch.cuda.mem_get_info(n)[0]) for n in range(torch.cuda.device_count())]
print(json.dumps(dict(gpus=gpus, cuda=torch.version.cuda, built_for=torch.cuda.get_arch_list())))
"""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device: its compute capability, and its free memory in bytes."""

    name: str
    capability: tuple[int, int]
    free: int


@dataclass(frozen=True, slots=True)
class Probed:
    """What torch said. `built_for` lists architectures such as `sm_80` and `compute_90`."""

    gpus: tuple[Gpu, ...] = ()
    cuda: str | None = None
    built_for: tuple[str, ...] = ()
    problem: str = ""


NOT_ASKED = Probed(problem="not needed")


def probe() -> Probed:
    """Ask torch, where it is installed."""
    try:
        metadata.version("torch")
        done = subprocess.run(  # noqa: S603  # our own interpreter and program; -P: not what is in .
            [sys.executable, "-P", "-c", PROBE],
            capture_output=True,
            timeout=PROBE_S,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except metadata.PackageNotFoundError:
        return Probed(problem="torch is not installed")
    except subprocess.TimeoutExpired:
        return Probed(problem=f"torch said nothing for {PROBE_S:.0f} s")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return Probed(problem=lines[-1][:200] if lines else f"exit status {error.returncode}")
    except (OSError, ValueError, IndexError) as error:
        return Probed(problem=f"{type(error).__name__}: {error}")
    gpus = tuple(Gpu(e["name"], (*e["capability"],), e["free"]) for e in found["gpus"])
    return Probed(gpus, found["cuda"], tuple(found["built_for"]))


def checks(probed: Probed, dtype: str) -> Iterator[Check]:
    """Give a finding for each GPU, or why there is none."""
    if probed.problem:
        yield warning("GPU", f"cannot be asked: {probed.problem}", "look at torch above")
    elif not probed.gpus:
        build = "built for CUDA, but no device is seen" if probed.cuda else "CPU build"
        remedy = "enough for the bundled model; KoGPT wants a GPU of 16 GB and its driver"
        yield warning("GPU", f"none (torch: {build})", remedy)
    for each in probed.gpus:
        yield _check(each, probed, dtype)


def _check(gpu: Gpu, probed: Probed, dtype: str) -> Check:
    major, minor = gpu.capability
    free = f"{gpu.free / GIB:.1f} GiB free"
    finding = f"{gpu.name}, {free}, compute capability {major}.{minor}"
    if not _runs_on(gpu.capability, probed.built_for):
        remedy = "install a torch that is built for it, or set generation.device: cpu"
        return failed("GPU", f"{finding}: this torch is not built for it", remedy)
    if gpu.capability < HALF:
        remedy = "half precision needs Volta (7.0) or newer: set generation.dtype: float32"
        text = f"{finding}: too old for half precision"
        return ok("GPU", finding) if dtype == "float32" else warning("GPU", text, remedy)
    if gpu.capability < BFLOAT16 and dtype == "bfloat16":
        remedy = "bfloat16 needs 8.0 or newer; float16 is used, so set generation.dtype: float16"
        return warning("GPU", finding, remedy)
    return ok("GPU", finding)


def _runs_on(capability: tuple[int, int], built_for: tuple[str, ...]) -> bool:
    """Return whether code for these architectures runs on a device.

    Machine code (sm_XY) runs on the same major version from its minor on; PTX (compute_XY) on
    everything newer.
    """
    for each in built_for:
        kind, _, number = each.rstrip("af").partition("_")
        if not number.isdecimal():
            return True  # ROCm's gfx90a and others, which we do not know
        built = divmod(int(number), 10)
        same_major = built[0] == capability[0]
        if built <= capability and (kind == "compute" or same_major):
            return True
    return not built_for
