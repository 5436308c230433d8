"""What a type allows, in plain English, for the messages about a wrong value."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

SECTION = "a section with keys"
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}
_LISTS = (tuple, list, set, frozenset)


def describe(hint: Any) -> str:
    """Return what a value of this type may be: `a number from 0 to 5`, `text or null`."""
    origin, arguments = get_origin(hint), get_args(hint)
    text = _NAMES.get(hint, SECTION)
    if origin is Annotated:
        text = _constrained(arguments[0], constraints_of(hint))
    elif origin in (Union, types.UnionType):
        text = " or ".join(describe(each) for each in arguments)
    elif origin is Literal:
        text = ", ".join(str(each) for each in arguments)
    elif origin in _LISTS:
        text = f"a list, each {describe(arguments[0])}"
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        text = ", ".join(str(each.value) for each in hint)
    return text


def _constrained(hint: Any, constraints: list[Any]) -> str:
    said = next((e.description for e in constraints if getattr(e, "description", None)), None)
    if said is not None:  # Field(pattern=..., description="auto, cpu or cuda")
        return str(said)
    words = describe(hint)
    shortest = bound(constraints, MinLen, "min_length") or None  # 0 says nothing
    longest = bound(constraints, MaxLen, "max_length")
    size = _range(shortest, longest)
    if size and words.startswith("a list"):
        return words.replace("a list", f"a list of{size} entries", 1)
    if size:
        return f"{words} of{size} characters"
    low, high = bound(constraints, Ge, "ge"), bound(constraints, Le, "le")
    above, below = bound(constraints, Gt, "gt"), bound(constraints, Lt, "lt")
    return words + _range(low, high, above, below)


def constraints_of(hint: Any) -> list[Any]:
    """Return the single constraints of an annotated type."""
    return list(_flat(get_args(hint)[1:]))


def _flat(constraints: Iterable[Any]) -> Iterator[Any]:
    """Give the single constraints of groups: an Interval, a Len, pydantic's Field."""
    for each in constraints:
        if isinstance(each, FieldInfo):
            yield each
            yield from _flat(each.metadata)
        elif isinstance(each, GroupedMetadata):
            yield from _flat(each)
        else:
            yield each


def bound(constraints: list[Any], kind: type[Any], name: str) -> Any:
    """Return the bound of one kind; None where there is none."""
    return next((getattr(each, name) for each in constraints if isinstance(each, kind)), None)


def _range(low: Any, high: Any, above: Any = None, below: Any = None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    bounds = {"above": above, "from": low, "below": below, "up to": high}
    parts = [f"{words} {value}" for words, value in bounds.items() if value is not None]
    return " " + " and ".join(parts) if parts else ""
