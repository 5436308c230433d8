"""The tree of all checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kogpt_bot import __version__, config
from kogpt_bot.config import Settings
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.ops.doctor import gpu, machine, model, platforms, program
from kogpt_bot.ops.doctor.check import Check, Verdict, failure, ok, warning


def diagnose(path: Path | None, *, online: bool = False) -> Check:
    """Return the tree; `online` also asks the platforms.

    A broken configuration is one finding; the rest is checked by defaults.
    """
    if path is None and Path("config.yaml").is_file():
        path = Path("config.yaml")
    configuration, settings = _configuration(path)
    if settings is None:
        why = "the configuration above cannot be read, so nothing else was checked"
        return Check("kogpt-bot", Verdict.OK, f"{__version__}: {why}", below=(configuration,))
    # A service elsewhere needs neither torch nor a GPU here.
    probed = gpu.NOT_ASKED if settings.generation.url else gpu.probe()
    branches: dict[str, Iterator[Check]] = {
        "program": program.checks(settings, probed),
        "model": model.checks(settings.generation, probed),
        "machine": machine.checks(settings),
        "platforms": platforms.checks(settings, online=online),
    }
    below = [Check(name, Verdict.OK, below=tuple(found)) for name, found in branches.items()]
    return Check("kogpt-bot", Verdict.OK, __version__, below=(configuration, *below))


def _configuration(path: Path | None) -> tuple[Check, Settings | None]:
    """Return what is wrong with the file, and the settings: the defaults in place of wrong ones."""
    name = "configuration"
    try:
        settings = config.load(path)
    except ConfigurationError as error:
        remedy = "correct it, then: kogpt-bot config check FILE"
        faults = tuple(failure("fault", line, remedy) for line in str(error).split("\n"))
        broken = Check(name, Verdict.FAILED, str(path or "without a file"), below=faults)
        return broken, _defaults()
    if path is None:
        return ok(name, "none: every key has its default"), settings
    if not settings.adapters:
        remedy = "enable one: adapters.web.enabled: true"
        return warning(name, f"{path}: no adapter is enabled", remedy), settings
    return ok(name, str(path)), settings


def _defaults() -> Settings | None:
    try:
        return config.load(None)
    except ConfigurationError:  # an adapter that cannot be loaded; it is among the faults
        return None
