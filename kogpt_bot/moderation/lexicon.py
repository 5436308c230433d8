"""Reads the lexicon: YAML to frozen rules, with every fault named by its place."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import yaml

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.moderation.pattern import PatternError, parse

DEFAULT_LEXICON = "lexicon.yaml"


class Category(enum.StrEnum):
    """What kind of profanity a rule finds."""

    SWEARING = "욕설"
    SEXUAL = "성적"
    DEMEANING = "비하"
    SLUR = "혐오"
    MILD = "mild"


@dataclass(frozen=True, slots=True)
class Rule:
    """One word family in Hangul; the fields are explained at the top of `lexicon.yaml`."""

    id: str
    category: Category
    severity: int
    forms: tuple[str, ...]
    word: str = ""  # empty: the match itself, without what was put in
    gaps: str = "spaced"
    left: str = "any"
    right: str = "any"
    only: str = "both"
    initials: bool = False
    joined: tuple[str, ...] = ()
    not_before: tuple[str, ...] = ()
    before_unless: tuple[str, ...] = ()
    not_into: tuple[str, ...] = ()
    not_after: tuple[str, ...] = ()
    not_joined: tuple[str, ...] = ()
    joined_unless: tuple[str, ...] = ()
    not_near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LatinRule:
    """One word family in Latin letters."""

    id: str
    category: Category
    severity: int
    forms: tuple[str, ...]
    word: str = ""
    inside: bool = False
    only: str = "both"


@dataclass(frozen=True, slots=True)
class CloakedRule:
    """Words in Hangul that are also looked for with a part of them hidden, or romanised."""

    id: str
    category: Category
    severity: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Everything the detector knows."""

    rules: tuple[Rule, ...]
    latin: tuple[LatinRule, ...]
    innocent: tuple[str, ...]
    cloaked: tuple[CloakedRule, ...] = ()


AnyRule = Rule | LatinRule | CloakedRule
_KINDS: Mapping[str, type[AnyRule]] = {"rules": Rule, "latin": LatinRule, "cloaked": CloakedRule}
_LISTS: Mapping[type[AnyRule], str] = {Rule: "forms", LatinRule: "forms", CloakedRule: "words"}
_CHOICES = {
    "gaps": ("none", "tight", "spaced"),
    "left": ("any", "edge", "start", "alone"),
    "right": ("any", "edge", "end", "alone"),
    "only": ("both", "hidden"),
}


def load_default() -> Lexicon:
    """Read the lexicon that comes with the package."""
    text = files("kogpt_bot.moderation").joinpath(DEFAULT_LEXICON).read_text(encoding="utf-8")
    return load(text, name=DEFAULT_LEXICON)


def load(text: str, *, name: str) -> Lexicon:
    """Read a lexicon from YAML text; raises ConfigurationError, one line per fault."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = yaml.load(text, Loader=loader)  # noqa: S506  # a safe loader, in C where there is one
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name}: {error}") from error
    if not isinstance(data, dict) or not set(data) <= {*_KINDS, "innocent"}:
        raise ConfigurationError(f"{name}: expected the keys {', '.join(_KINDS)} and innocent")
    faults: list[str] = []
    read = {
        key: [_rule(kind, entry, faults) for entry in data.get(key) or ()]
        for key, kind in _KINDS.items()
    }
    rules = [rule for entries in read.values() for rule in entries if rule is not None]
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen:
            faults.append(f"{rule.id}: this id is used twice")
        seen.add(rule.id)
    if faults:
        raise ConfigurationError("\n".join(f"{name}: {fault}" for fault in faults))
    return Lexicon(
        tuple(rule for rule in rules if isinstance(rule, Rule)),
        tuple(rule for rule in rules if isinstance(rule, LatinRule)),
        tuple(str(phrase) for phrase in data.get("innocent") or ()),
        tuple(rule for rule in rules if isinstance(rule, CloakedRule)),
    )


def _rule(kind: type[AnyRule], entry: object, faults: list[str]) -> AnyRule | None:
    """Build one rule, or note what is wrong with it."""
    if not isinstance(entry, Mapping):
        faults.append(f"expected a mapping, got {entry!r}")
        return None
    place = str(entry.get("id", entry))
    unknown = set(entry) - {field.name for field in fields(kind)}
    missing = {"id", "category", "severity", _LISTS[kind]} - set(entry)
    wrong = [
        f"{key}: {entry[key]!r} is none of {', '.join(allowed)}"
        for key, allowed in _CHOICES.items()
        if key in entry and entry[key] not in allowed
    ]
    if unknown or missing or wrong:
        faults.append(f"{place}: unknown {sorted(unknown)}, missing {sorted(missing)}, {wrong}")
        return None
    values: dict[str, Any] = {
        key: tuple(map(str, value)) if isinstance(value, list) else value
        for key, value in entry.items()
    }
    try:
        values["category"] = Category(str(entry["category"]))
        if values["severity"] not in (1, 2, 3):
            raise ValueError("severity is 1, 2 or 3")
        if kind is Rule:
            for form in values["forms"]:
                parse(form)
        return kind(**values)
    except (PatternError, ValueError) as error:
        faults.append(f"{place}: {error}")
        return None
