"""Where the bot keeps its state and its models: room and rights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kogpt_bot.config import Settings
from kogpt_bot.ops.doctor.check import GIB, Check, failure, ok, warning

ENOUGH_BYTES = GIB  # of state: messages of months, and room for SQLite's log
KOGPT_BYTES = 13 * GIB  # a download in half precision
CHECKPOINT_BYTES = 3 * GIB  # of a model that we know nothing of


def checks(settings: Settings) -> Iterator[Check]:
    """Give the findings."""
    yield _state(settings.data_dir)
    model = settings.generation.model
    if settings.generation.url is None and model != "mini" and not Path(model).is_dir():
        yield _cache(KOGPT_BYTES if model == "kakaobrain/kogpt" else CHECKPOINT_BYTES)


def _state(folder: Path) -> Check:
    there = _nearest(folder)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = "correct its rights, or set data_dir"
        return failure("data_dir", f"{folder} cannot be written", remedy)
    free = shutil.disk_usage(there).free
    if free < ENOUGH_BYTES:
        remedy = "free some space, or set data_dir"
        return warning("data_dir", f"{free / GIB:.1f} GiB free at {folder}", remedy)
    return ok("data_dir", f"{folder}, {free / GIB:.0f} GiB free")


def _cache(needed: int) -> Check:
    from huggingface_hub.constants import HF_HUB_CACHE

    there = _nearest(Path(HF_HUB_CACHE))
    free = shutil.disk_usage(there).free if there is not None else 0
    finding = f"{HF_HUB_CACHE}, {free / GIB:.0f} GiB free"
    if free < needed:
        remedy = f"a download may need {needed / GIB:.0f} GiB: free some space, or set HF_HOME"
        return warning("model cache", finding, remedy)
    return ok("model cache", finding)


def _nearest(folder: Path) -> Path | None:
    """Return the folder, or what is above it as far as it is not there; None if not allowed."""
    for each in (folder, *folder.absolute().parents):
        try:
            if each.exists():
                return each
        except OSError:
            return None
    return None
