"""Checking one section: unknown keys, wrong values, all of them at once."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from kogpt_bot.config.describe import SECTION, describe
from kogpt_bot.config.yaml import Path

Fault = Callable[[Path, str], None]  # where, what is wrong and what is allowed

_SAYS_WHY = ("value_error", "assertion_error")  # of a settings class's own validation
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL_PASSWORD = re.compile(r"(://[^/?#\s]*?:)[^/?#\s]*@")


def check_section(value: Any, kind: type[Any], path: Path, fault: Fault) -> Any:
    """Return the section as a `kind`; None, and a fault for each error, where it is wrong."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        fault(path, refused(value, SECTION))
        return None
    return check_value(value, kind, path, fault)


def check_value(value: Any, hint: Any, path: Path, fault: Fault) -> Any:
    """Return the value as `hint` says; None, and a fault for each error, where it is wrong."""
    value = _known_keys(value, hint, path, fault)
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
            if each["type"] == "missing":
                fault((*path, *where), f"is missing; allowed: {describe(allowed)}")
                continue
            hidden = str((*path, *where)[-1]).endswith("_env")
            given = "what it holds" if hidden else shown(_at(value, where))
            why = f" ({each['msg']})" if each["type"] in _SAYS_WHY else ""
            fault((*path, *where), f"{given} is not allowed; allowed: {describe(allowed)}{why}")
        return None


def _locate(hint: Any, location: tuple[int | str, ...]) -> tuple[Path, Any]:
    """Return the path of an error without pydantic's names of union members, and its type."""
    where: list[str | int] = []
    for part in location:
        inner = _inner(hint, part)
        if inner is not None:
            where.append(part)
            hint = inner
    return tuple(where), hint


def _inner(hint: Any, part: str | int) -> Any:
    """Return the type of an item or a key; None where there is none."""
    for kind in _members(hint):
        if isinstance(part, int) and _is_list(kind):
            return get_args(kind)[0]
        if isinstance(part, str) and _is_section(kind):
            return section_hints(kind).get(part)
        if isinstance(part, str) and _is_mapping(kind):
            return get_args(kind)[1]
    return None


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _known_keys(value: Any, hint: Any, path: Path, fault: Fault) -> Any:
    """Return the value without the keys that its type does not know, each of them a fault."""
    kinds = _members(hint)
    if isinstance(value, list) and (kind := next(filter(_is_list, kinds), None)):
        item = get_args(kind)[0]
        return [_known_keys(each, item, (*path, n), fault) for n, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if kind := next(filter(_is_section, kinds), None):
        return _known_in_section(value, kind, path, fault)
    if kind := next(filter(_is_mapping, kinds), None):
        item = get_args(kind)[1]
        return {key: _known_keys(each, item, (*path, key), fault) for key, each in value.items()}
    return value


def _known_in_section(
    value: dict[str, Any], kind: type[Any], path: Path, fault: Fault
) -> dict[str, Any]:
    hints = section_hints(kind)
    good: dict[str, Any] = {}
    for key, inner in value.items():
        where = (*path, key)
        if key not in hints:
            fault(where, unknown(key, hints))
        elif inner is None and _is_section(hints[key]):
            continue  # an empty section: its defaults
        elif key.endswith("_env") and isinstance(inner, str) and not _names_variable(inner):
            # It is not shown: who misreads the key puts the secret itself here.
            allowed = "the name of an environment variable (letters, digits, _), not the secret"
            fault(where, f"what it holds is not allowed; allowed: {allowed}")
        else:
            good[key] = _known_keys(inner, hints[key], where, fault)
        source = f"{key.removesuffix('_file')}_env"
        if key.endswith("_file") and inner is not None and value.get(source) is not None:
            fault(where, f"is given beside {source}; allowed: one of them")
    return good


def _names_variable(text: str) -> bool:
    return _ENVIRONMENT_NAME.fullmatch(text) is not None


def section_hints(kind: type[Any]) -> dict[str, Any]:
    """Return key -> annotated type of a settings class: a dataclass or a pydantic model."""
    hints = get_type_hints(kind, include_extras=True)
    if issubclass(kind, BaseModel):
        return {name: hints[name] for name in kind.model_fields}
    return {each.name: hints[each.name] for each in fields(kind) if each.init}


def _members(hint: Any) -> tuple[Any, ...]:
    """Return what a value may be, without annotations: the members of a union, or the type."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(each for member in get_args(hint) for each in _members(member))
    return (hint,)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel))


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (tuple, list, set, frozenset)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def unknown(key: str, known: Iterable[str]) -> str:
    """Return the message for a key that is not known."""
    known = list(known)
    if f"{key}_env" in known:
        return f"a secret does not stand in the file; allowed: {key}_env or {key}_file"
    near = difflib.get_close_matches(key, known, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"is not known; {guess}allowed: {', '.join(known) or 'nothing'}"


def refused(value: Any, allowed: str) -> str:
    """Return the message for a value that is not allowed."""
    return f"{shown(value)} is not allowed; allowed: {allowed}"


def shown(value: Any) -> str:
    """Return a value for a message: short, on one line, without the password of a URL."""
    text = _URL_PASSWORD.sub(r"\1***@", json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 60 else f"{text[:57]}..."
