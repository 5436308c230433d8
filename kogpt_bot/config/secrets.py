"""The secrets that a configuration names, for the log to know what it must not show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel

from kogpt_bot.config.settings import Settings
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.secret import Secret, read_secret


def secrets(settings: Settings) -> list[Secret]:
    """Return every secret that can be read; who needs one says what is wrong with the others."""
    found = list(_in_section(settings))
    for section in settings.adapters.values():
        found += _in_section(section)
    if settings.store.url and (password := urlsplit(settings.store.url).password):
        found += [Secret(password), Secret(unquote(password))]
    return found


def _in_section(section: Any) -> Iterator[Secret]:
    """Give what the keys `NAME_env` and `NAME_file` of a section name, and those below it."""
    names = _names(section)
    for name in names:
        value = getattr(section, name)
        if name.endswith("_env") and isinstance(value, str):
            yield from _read(name.removesuffix("_env"), value, None)
        elif name.endswith("_file") and isinstance(value, str):
            yield from _read(name.removesuffix("_file"), None, value)
        elif _names(value):
            yield from _in_section(value)


def _names(section: Any) -> list[str]:
    if is_dataclass(section):
        return [each.name for each in fields(section)]
    return list(type(section).model_fields) if isinstance(section, BaseModel) else []


def _read(key: str, env: str | None, file: str | None) -> Iterator[Secret]:
    try:
        secret = read_secret(key, env, file)
    except ConfigurationError:
        return
    if secret is not None:
        yield secret
