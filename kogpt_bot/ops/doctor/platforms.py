"""The adapters that run: their packages, tokens and ports; and the key of the service."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from kogpt_bot.adapter import Finding
from kogpt_bot.config import Settings
from kogpt_bot.config.load import plugins
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.loopback import is_loopback
from kogpt_bot.ops.doctor.check import Check, Verdict, failure, ok, warning
from kogpt_bot.secret import open_to_others, read_secret


def checks(settings: Settings, *, online: bool = False) -> Iterator[Check]:
    """Give the findings; `online` also asks the platforms themselves."""
    yield from _secrets("generation", settings.generation)
    if settings.console.enabled:
        yield from _secrets("console", settings.console)
        yield _port("console", settings.console.host, settings.console.port, "console")
    for name, section in settings.adapters.items():
        below = tuple(_secrets(f"adapters.{name}", section))
        port, host = getattr(section, "port", None), getattr(section, "host", None)
        if isinstance(port, int) and isinstance(host, str):
            below += (_port(name, host, port, f"adapters.{name}"),)
        below += tuple(_own(name, section, online))
        yield Check(name, Verdict.OK, "enabled", below=below)


def _own(name: str, section: Any, online: bool) -> Iterator[Check]:
    """Give what the adapter itself finds."""
    entry = plugins().get(name)
    diagnose = entry.load().diagnose if entry is not None else None
    for found in diagnose(section, online) if diagnose is not None else ():
        yield _check(found)


def _check(found: Finding) -> Check:
    if not found.remedy:
        return ok(found.name, found.finding)
    made = failure if found.serious else warning
    return made(found.name, found.finding, found.remedy)


def _secrets(path: str, section: Any) -> Iterator[Check]:
    """Give a finding for each `KEY_env` and `KEY_file` that is set in a section."""
    names = {each.name for each in fields(section)} if is_dataclass(section) else set()
    for name in sorted(names):
        key = name.removesuffix("_env")
        if key == name or f"{key}_file" not in names:
            continue
        env, file = getattr(section, name), getattr(section, f"{key}_file")
        if env is not None or file is not None:
            yield _secret(f"{path}.{key}", env, file)


def _secret(key: str, env: str | None, file: str | None) -> Check:
    try:
        secret = read_secret(key, env, file)
    except ConfigurationError as error:
        finding, _, advice = str(error).partition("; ")
        return failure(key, finding, advice or "correct it, or name another")
    if file is not None and open_to_others(file):
        return warning(key, f"{secret} of {file}: others can read it", f"chmod 600 {file}")
    return ok(key, f"{secret} of {file or env}")


def _port(name: str, host: str, port: int, section: str) -> Check:
    label = f"{name} port"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        remedy = f"end what uses it (this bot already runs?), or set {section}.port"
        return warning(label, f"{host}:{port}: {error.strerror or error}", remedy)
    if not is_loopback(host):
        remedy = f"keep strangers out with a reverse proxy, or set {section}.host: 127.0.0.1"
        return warning(label, f"{host}:{port} is free, and open to the network", remedy)
    return ok(label, f"{host}:{port} is free" if port else f"{host}, any free port")
