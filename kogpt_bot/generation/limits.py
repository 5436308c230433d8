"""What this process may use of the machine: memory and cores, as its host and its cgroup allow.

Limits are those of cgroups in version 2, which systemd, Docker and Kubernetes use on a Linux of
today; a limit that version 1 sets is not seen.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
FILES = ("active_file", "inactive_file")  # of memory.stat: given up where room is short


def free_memory(own: Path = OWN, cgroups: Path = CGROUPS) -> int:
    """Return the bytes that are free: in main memory, and below the limit of each cgroup."""
    rooms = [_room(group) for group in _groups(own, cgroups)]
    return min([psutil.virtual_memory().available] + [each for each in rooms if each is not None])


def cores(own: Path = OWN, cgroups: Path = CGROUPS) -> int:
    """Return the cores that this process may use, at least 1."""
    found = [psutil.cpu_count(logical=False) or 1]
    if hasattr(os, "sched_getaffinity"):
        found.append(len(os.sched_getaffinity(0)))
    quotas = [_quota(group) for group in _groups(own, cgroups)]
    return max(1, min(found + [each for each in quotas if each is not None]))


def _groups(own: Path, cgroups: Path) -> Iterator[Path]:
    """Give the folders of this process's cgroup and of those that it is in.

    A container may see only its own, as the root, while its path is that on the host: folders of
    the path that are missing have no files to read.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        if line.startswith("0::/"):
            group = cgroups / line.removeprefix("0::").lstrip("/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(cgroups))


def _room(group: Path) -> int | None:
    """Return the bytes to the limit of a cgroup; None where it has none.

    Files that were read count as used there, a checkpoint's too, but make room by themselves.
    """
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = sum(int(stat[name]) for name in FILES)
    except (OSError, ValueError, KeyError):  # "max", or no such limit
        return None
    return max(0, limit - max(0, used - files))


def _quota(group: Path) -> int | None:
    """Return the cores whose time a cgroup may use; None where it has no limit."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # "max 100000", or no such limit
        return None
