"""The section `adapters`: which platforms run, each with the settings class of its plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any

from kogpt_bot.adapter import AdapterPlugin
from kogpt_bot.config.sections import Fault, check_section, check_value, refused, unknown
from kogpt_bot.config.yaml import Path

GROUP = "kogpt_bot.adapters"
KNOWN_EXTRAS = {"discord": "discord", "telegram": "telegram"}  # adapters that come with an extra


def plugins() -> dict[str, EntryPoint]:
    """Return the installed adapters by name; nothing of them is imported yet."""
    return {each.name: each for each in entry_points(group=GROUP)}


def check_adapters(value: dict[str, Any], fault: Fault) -> Mapping[str, Any]:
    """Return name -> settings of every adapter that runs."""
    installed = plugins()
    for name in value:
        if name not in installed:
            fault(("adapters", name), _not_installed(name, installed))
    found = {name: _check_adapter(entry, value, fault) for name, entry in sorted(installed.items())}
    return {name: settings for name, settings in found.items() if settings is not None}


def _not_installed(name: str, installed: Mapping[str, EntryPoint]) -> str:
    if name in KNOWN_EXTRAS:
        return f"this adapter is not installed; pip install 'kogpt-bot[{KNOWN_EXTRAS[name]}]'"
    return unknown(name, sorted({*installed, *KNOWN_EXTRAS}))


def _check_adapter(entry: EntryPoint, value: dict[str, Any], fault: Fault) -> Any:
    """Return the settings of one adapter; None where it does not run."""
    path: Path = ("adapters", entry.name)
    section = value.get(entry.name)
    if section is not None and not isinstance(section, dict):
        fault(path, refused(section, "a section with keys"))
        return None
    body = dict(section or {})
    wish = body.pop("enabled", None)
    if wish is not None:
        wish = check_value(wish, bool, (*path, "enabled"), fault)
    if wish is False and not body:
        return None  # also the way around a plug-in that cannot be loaded
    plugin = load_plugin(entry, path, fault)
    if plugin is None:
        return None
    runs = wish if wish is not None else entry.name in value or plugin.enabled_by_default
    if not runs and not body:
        return None
    settings = check_section(body, plugin.settings, path, fault)
    if runs and (missing := missing_packages(entry, plugin.extra)):
        fault(path, f"{', '.join(missing)} is not installed; {remedy(entry, plugin.extra)}")
    return settings if runs else None


def load_plugin(entry: EntryPoint, path: Path, fault: Fault) -> AdapterPlugin | None:
    """Import an adapter's plug-in, which is light; None, and a fault, where that fails."""
    way_out = f"reinstall or remove it, or set adapters.{entry.name} to {{enabled: false}}"
    try:
        plugin = entry.load()
    except Exception as error:  # noqa: BLE001  # somebody else's module, imported here
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        fault(path, f"the adapter {entry.value} cannot be loaded ({reason}); {way_out}")
        return None
    if not isinstance(plugin, AdapterPlugin):
        fault(path, f"{entry.value} is no AdapterPlugin; {way_out}")
        return None
    return plugin


def missing_packages(entry: EntryPoint, extra: str) -> list[str]:
    """Return what the adapter's extra asks for and is not installed; nothing is imported."""
    if not extra or entry.dist is None:
        return []
    from packaging.requirements import Requirement

    missing = []
    for line in entry.dist.requires or ():
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            continue  # not of an extra
        if asked.marker.evaluate({"extra": extra}) and not _installed(asked.name):
            missing.append(asked.name)
    return missing


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def remedy(entry: EntryPoint, extra: str) -> str:
    """Return the command that installs what an adapter needs."""
    package = entry.dist.name if entry.dist is not None else "kogpt-bot"
    return f"pip install '{package}[{extra}]'"
