"""`kogpt-bot doctor`: a tree of checks of machine and configuration, each with its remedy."""

from __future__ import annotations

import enum
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from kogpt_bot import config
from kogpt_bot.config import Settings
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.secret import read_secret

GIB = 1 << 30
PROBE_S = 60.0  # importing torch from a cold disk
KOGPT = "kakaobrain/kogpt"
MINI = Path(__file__).parent.parent / "mini"
NEEDED_GIB = {"mini": 1.0, KOGPT: 16.0}  # of memory where the model runs, in half precision
PROBE = """
import json, torch
gpus = [dict(name=torch.cuda.get_device_name(n), capability=torch.cuda.get_device_capability(n),
             free=torch.cuda.mem_get_info(n)[0]) for n in range(torch.cuda.device_count())]
print(json.dumps(dict(gpus=gpus, built_for_cuda=torch.version.cuda)))
"""


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding, with what to do about it, and the checks below it."""

    name: str
    verdict: Verdict
    finding: str = ""
    remedy: str = ""
    below: tuple[Check, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it or anything below it failed."""
        return self.verdict is Verdict.FAILED or any(each.failed for each in self.below)


def ok(name: str, finding: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, Verdict.OK, finding)


def warning(name: str, finding: str, remedy: str) -> Check:
    """Return a check that found something to look at."""
    return Check(name, Verdict.WARNING, finding, remedy)


def failure(name: str, finding: str, remedy: str) -> Check:
    """Return a check that found what must be mended."""
    return Check(name, Verdict.FAILED, finding, remedy)


def diagnose(path: Path | None) -> Check:
    """Return the tree. A broken configuration is one finding; the rest is checked by defaults."""
    if path is None and Path("config.yaml").is_file():
        path = Path("config.yaml")
    try:
        settings = config.load(path)
        configuration = ok("configuration", str(path or "none: every key has its default"))
    except ConfigurationError as error:
        faults = tuple(
            failure("fault", line, "correct this line") for line in str(error).split("\n")
        )
        configuration = Check("configuration", Verdict.FAILED, str(path), below=faults)
        settings = config.load(None)
    branches: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("program", _program),
        ("model", lambda: _model(settings)),
        ("machine", lambda: _machine(settings)),
        ("platforms", lambda: _platforms(settings)),
    )
    below = tuple(Check(name, Verdict.OK, below=tuple(run())) for name, run in branches)
    return Check(
        "kogpt-bot", Verdict.OK, metadata.version("kogpt-bot"), below=(configuration, *below)
    )


def _program() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("Python", version)  # an older one would not have come this far
    for package, extra in (("torch", "engine"), ("transformers", "engine")):
        try:
            yield ok(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            remedy = f"pip install 'kogpt-bot[{extra}]', or set generation.url"
            yield failure(package, "not installed", remedy)
    yield from _gpus()


def _gpus() -> Iterator[Check]:
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and program
            [sys.executable, "-c", PROBE], capture_output=True, timeout=PROBE_S, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        yield warning("GPU", f"cannot be asked ({type(error).__name__})", "look at torch above")
        return
    if not found["gpus"]:
        build = "built for CUDA, but no device is seen" if found["built_for_cuda"] else "CPU build"
        remedy = "enough for the bundled model; KoGPT wants a GPU of 16 GB and its driver"
        yield warning("GPU", f"none ({build})", remedy)
    for each in found["gpus"]:
        capability = tuple(each["capability"])
        finding = f"{each['name']}, {each['free'] / GIB:.1f} GiB free, capability {capability}"
        if capability < (7, 0):
            remedy = "half precision needs Volta (7.0) or newer: generation.dtype: float32"
            yield warning("GPU", finding, remedy)
        elif capability < (8, 0):
            yield ok("GPU", f"{finding}: float16 (bfloat16 needs 8.0)")
        else:
            yield ok("GPU", finding)


def _model(settings: Settings) -> Iterator[Check]:
    chosen = settings.generation
    if chosen.url is not None:
        yield _reachable(chosen.url)
        return
    folder = MINI if chosen.model == "mini" else Path(chosen.model).expanduser()
    if folder.is_dir():
        yield from _files(folder)
    elif chosen.model.count("/") == 1 and not chosen.model.startswith((".", "/", "~")):
        yield _cached(chosen.model)
    else:
        yield failure("model", f"{chosen.model}: no such folder", "set generation.model")
    free = psutil.virtual_memory().available / GIB
    needed = NEEDED_GIB.get(chosen.model, 0.0)
    remedy = f"{chosen.model} needs {needed:.0f} GiB in half precision, twice that in full"
    check = ok("memory", f"{free:.1f} GiB free")
    yield check if free >= needed else warning("memory", f"{free:.1f} GiB free", remedy)


def _files(folder: Path) -> Iterator[Check]:
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
               "pytorch_model.bin.index.json")  # fmt: skip
    for name, allowed in (
        ("config.json", ("config.json",)),
        ("tokenizer", ("tokenizer.json", "tokenizer_config.json", "vocab.json")),
        ("weights", weights),
    ):
        there = next((each for each in allowed if (folder / each).is_file()), None)
        remedy = f"put {allowed[0]} into {folder}, or download the model again"
        yield ok(name, there) if there else failure(name, f"missing in {folder}", remedy)


def _cached(name: str) -> Check:
    from huggingface_hub import try_to_load_from_cache

    revision = "KoGPT6B-ryan1.5b-float16" if name == KOGPT else "main"
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return ok("model", f"{name} at {revision} is in the cache")
    return warning("model", f"{name} is not in the cache", "it is downloaded at the first start")


def _reachable(url: str) -> Check:
    import httpx

    try:
        answer = httpx.get(url.rstrip("/").removesuffix("/v1") + "/health", timeout=5)
    except httpx.HTTPError as error:
        remedy = "start the service, or correct generation.url"
        return failure("service", f"{url}: {type(error).__name__}", remedy)
    return ok("service", f"{url} answers with status {answer.status_code}")


def _machine(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIB
    writable = os.access(folder, os.W_OK)
    if not writable:
        yield failure("data_dir", f"{folder} cannot be written", "correct its rights, or data_dir")
    elif free < 1:
        yield warning("disk", f"{free:.1f} GiB free at {folder}", "free some space")
    else:
        yield ok("disk", f"{free:.0f} GiB free at {folder}")


def _platforms(settings: Settings) -> Iterator[Check]:
    chosen = settings.generation
    try:
        if read_secret("generation.api_key", chosen.api_key_env, chosen.api_key_file):
            yield ok("generation.api_key", "***")
    except ConfigurationError as error:
        yield failure("generation.api_key", str(error), "set it, or name another")
    for name, section in settings.adapters.items():
        try:
            env, file = getattr(section, "token_env", None), getattr(section, "token_file", None)
            found = read_secret(f"adapters.{name}.token", env, file)
            yield ok(name, "token ***" if found else "enabled")
        except ConfigurationError as error:
            yield failure(name, str(error), "set it, or name another")
        if (port := getattr(section, "port", 0)) and (host := getattr(section, "host", "")):
            yield _port(name, host, port)


def _port(name: str, host: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        remedy = f"end what uses it (this bot already runs?), or set adapters.{name}.port"
        return warning(f"{name} port", f"{host}:{port}: {error.strerror or error}", remedy)
    return ok(f"{name} port", f"{host}:{port} is free")


def as_json(check: Check) -> dict[str, Any]:
    """Return the tree as JSON."""
    below = {"below": [as_json(each) for each in check.below]} if check.below else {}
    return {
        "name": check.name,
        "verdict": check.verdict.value,
        "finding": check.finding,
        "remedy": check.remedy,
        **below,
    }


def show(check: Check) -> None:
    """Draw the tree."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    signs = {
        Verdict.OK: ("✓", "green"),
        Verdict.WARNING: ("!", "yellow"),
        Verdict.FAILED: ("✗", "red"),
    }

    def label(each: Check) -> Text:
        sign, colour = signs[Verdict.FAILED if each.failed else each.verdict]
        text = Text.assemble((f"{sign} ", colour), (each.name, "bold"), f" {each.finding}")
        if each.remedy:
            text.append(f"\n  → {each.remedy}", colour)
        return text

    def grow(tree: Tree, each: Check) -> Tree:
        for inner in each.below:
            grow(tree.add(label(inner)), inner)
        return tree

    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(grow(Tree(label(check)), check))
