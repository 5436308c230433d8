"""Checking one section: unknown keys, wrong values, all of them at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from kogpt_bot.config.describe import describe
from kogpt_bot.config.yaml import Path

Fault = Callable[[Path, str], None]  # where, what is wrong and what is allowed
SECRETS = ("token", "api_key", "secret_token", "password")


def check_section(value: Any, kind: type[Any], path: Path, fault: Fault) -> Any:
    """Return the section as a `kind`; the default `kind()` where anything is wrong with it."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        fault(path, f"{shown(value)} is not allowed; allowed: a section with keys")
        return kind()
    good = _without_unknown(value, kind, path, fault)
    checked = check_value(good, kind, path, fault)
    return kind() if checked is None else checked


def check_value(value: Any, hint: Any, path: Path, fault: Fault) -> Any:
    """Return the value as `hint` says; None, and a fault for each error, where it is wrong."""
    try:
        # JSON's strict mode takes lists for tuples and text for enums, but never "1" for 1.
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        seen: set[Path] = set()
        for each in error.errors(include_url=False):
            where, allowed = _locate(hint, each["loc"])
            if where in seen:
                continue
            seen.add(where)
            given = _at(value, where)
            if each["type"] == "missing":
                fault((*path, *where), f"is missing; allowed: {describe(allowed)}")
            else:
                message = f"{shown(given)} is not allowed; allowed: {describe(allowed)}"
                fault((*path, *where), message + _hint(allowed, each))
        return None


def _hint(allowed: Any, error: Any) -> str:
    known = describe(allowed)
    return "" if known not in ("text", "a section with keys") else f" ({error['msg']})"


def _locate(hint: Any, location: tuple[int | str, ...]) -> tuple[Path, Any]:
    """Return the path of an error without pydantic's names of union members, and its type."""
    where: list[str | int] = []
    for part in location:
        inner = _inner(hint, part)
        if inner is None:
            break
        where.append(part)
        hint = inner
    return tuple(where), hint


def _inner(hint: Any, part: str | int) -> Any:
    if isinstance(part, int):
        arguments = [each for each in get_args(hint) if each is not Ellipsis]
        return arguments[0] if arguments else None
    if is_dataclass(hint):
        return get_type_hints(hint, include_extras=True).get(part)
    return None


def _at(value: Any, path: Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _without_unknown(value: dict[str, Any], kind: type[Any], path: Path, fault: Fault) -> Any:
    hints = get_type_hints(kind, include_extras=True)
    known = [each.name for each in fields(kind)]
    good = {}
    for key, inner in value.items():
        if key not in known:
            fault((*path, key), unknown(key, known))
        elif is_dataclass(hints[key]) and isinstance(inner, dict):
            good[key] = _without_unknown(inner, hints[key], (*path, key), fault)
        elif is_dataclass(hints[key]) and inner is None:
            continue  # an empty section: its defaults
        else:
            good[key] = inner
    return good


def unknown(key: str, known: list[str]) -> str:
    """Return the message for a key that is not known."""
    if key in SECRETS and f"{key}_env" in known:
        return f"a secret does not stand in the file; allowed: {key}_env or {key}_file"
    near = difflib.get_close_matches(key, known, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"is not known; {guess}allowed: {', '.join(known) or 'nothing'}"


def shown(value: Any) -> str:
    """Return a value for a message: short, on one line."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give every leaf of nested mappings with its path."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from walk(inner, (*path, key))
        else:
            yield (*path, key), inner
