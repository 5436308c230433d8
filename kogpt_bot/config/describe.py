"""What a type allows, in plain English, for messages and for the editor's schema."""

from __future__ import annotations

import enum
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def describe(hint: Any) -> str:
    """Return what a value of this type may be: `a number from 0 to 5`, `text or null`."""
    origin, arguments = get_origin(hint), get_args(hint)
    text = _NAMES.get(hint, "a section with keys")
    if origin is Annotated:
        text = describe(arguments[0]) + _range(arguments[1:])
    elif origin in (Union, types.UnionType):
        text = " or ".join("null" if each is type(None) else describe(each) for each in arguments)
    elif origin is Literal:
        text = ", ".join(str(each) for each in arguments)
    elif origin in (tuple, list):
        text = f"a list, each {describe(arguments[0])}"
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        text = ", ".join(str(each.value) for each in hint)
    return text


def _range(constraints: tuple[Any, ...]) -> str:
    low = high = above = below = None
    for each in constraints:
        if isinstance(each, Interval):
            low, high, above, below = each.ge, each.le, each.gt, each.lt
        low = each.ge if isinstance(each, Ge) else low
        high = each.le if isinstance(each, Le) else high
        above = each.gt if isinstance(each, Gt) else above
        below = each.lt if isinstance(each, Lt) else below
    if low is not None and high is not None:
        return f" from {low} to {high}"
    bounds = {"above": above, "from": low, "below": below, "up to": high}
    parts = [f"{words} {value}" for words, value in bounds.items() if value is not None]
    return " " + " and ".join(parts) if parts else ""
