"""Python, and the packages that the model needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata

from kogpt_bot.config import Settings
from kogpt_bot.ops.doctor import gpu
from kogpt_bot.ops.doctor.check import Check, failure, ok

ENGINE = ("torch", "transformers", "accelerate", "safetensors")


def checks(settings: Settings, probed: gpu.Probed) -> Iterator[Check]:
    """Give the findings."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("Python", version)  # an older one would not have come this far
    if settings.generation.url is not None:
        yield ok("engine", "not needed: generation.url names a service")
        return
    for package in ENGINE:
        try:
            yield ok(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            remedy = "pip install 'kogpt-bot[engine]', or set generation.url"
            yield failure(package, "not installed", remedy)
    yield from gpu.checks(probed, settings.generation.dtype)
