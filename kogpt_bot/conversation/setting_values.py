"""One setting from what somebody typed or from the store: checked, or refused in one line."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Union, get_args, get_origin

from kogpt_bot.config.sections import check_value, unknown
from kogpt_bot.conversation.settings import KEYS, Overrides
from kogpt_bot.errors import ConfigurationError

TRUE = frozenset({"true", "yes", "on", "예", "네", "켜기", "켬"})
FALSE = frozenset({"false", "no", "off", "아니요", "아니오", "끄기", "끔"})
NOTHING = frozenset({"null", "none", "없음"})


def parse_value(key: str, text: str) -> Any:
    """Return the value that `text` means for a dotted key, as `ChannelSettings` holds it.

    A list is written with commas. ConfigurationError says what is wrong and what is allowed.
    """
    return check_setting(key, _meant(KEYS[key], text.strip()) if key in KEYS else text)


def check_setting(key: str, value: Any) -> Any:
    """Return a plain (JSON) value as `ChannelSettings` holds it; ConfigurationError."""
    if key not in KEYS:
        raise ConfigurationError(f"{key}: {unknown(key, list(KEYS))}")
    faults: list[str] = []
    checked = check_value(value, KEYS[key], (key,), lambda _, message: faults.append(message))
    if faults:
        raise ConfigurationError(f"{key}: {faults[0]}")
    return checked


def plain_value(value: Any) -> Any:
    """Return a setting as plain JSON, for the store: what `check_setting` takes."""
    if isinstance(value, enum.Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def check_overrides(
    stored: Mapping[str, Mapping[str, Any]],
) -> tuple[Overrides, tuple[str, ...]]:
    """Return what can be used of the stored settings, and one line for each that cannot.

    A program of another version may have written them: one bad row must not silence a channel.
    """
    good: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    for scope, values in stored.items():
        for key, value in values.items():
            try:
                good.setdefault(scope, {})[key] = check_setting(key, value)
            except ConfigurationError as error:
                faults.append(f"{scope or 'defaults'} {error}")
    return good, tuple(faults)


def _meant(hint: Any, text: str) -> Any:
    """Return the JSON value that `text` stands for; the text itself where it makes no sense."""
    while (origin := get_origin(hint)) in (Annotated, Union, types.UnionType):
        arguments = [each for each in get_args(hint) if each is not types.NoneType]
        if origin is not Annotated and text.casefold() in NOTHING:
            return None
        hint = arguments[0]
    if origin is tuple:
        if text.casefold() in NOTHING:
            return []
        return [each.strip() for each in text.split(",") if each.strip()]
    word = text.casefold()
    if hint is bool and word in TRUE | FALSE:
        return word in TRUE
    if hint in (int, float):
        with suppress(ValueError):
            return hint(text)
    return text
