"""The sections `personas` and `overrides`: whom the bot plays, and what differs by place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kogpt_bot.config.describe import SECTION
from kogpt_bot.config.sections import Fault, check_section, check_value, refused, shown, unknown
from kogpt_bot.config.yaml import Path
from kogpt_bot.conversation.persona import DEFAULT_PERSONA, Persona
from kogpt_bot.conversation.settings import KEYS
from kogpt_bot.conversation.transcript import MAX_NAME_CHARS, speaker_name

MAX_SCOPE_PARTS = 4
PLAIN_KEYS = [key for key in KEYS if "." not in key]
GROUPS: dict[str, list[str]] = {}  # group -> its keys
for _key in KEYS:
    if "." in _key:
        GROUPS.setdefault(_key.partition(".")[0], []).append(_key.partition(".")[2])


def check_personas(value: dict[str, Any], fault: Fault) -> Mapping[str, Persona]:
    """Return key -> persona; `default` is always there."""
    personas = {"default": DEFAULT_PERSONA}
    for key, body in value.items():
        path: Path = ("personas", key)
        if body is None or isinstance(body, dict):
            personas[key] = _persona(key, body or {}, path, fault)
        else:
            personas[key] = DEFAULT_PERSONA  # the name is known, so it is not also missing
            fault(path, refused(body, SECTION))
    return personas


def _persona(key: str, given: dict[str, Any], path: Path, fault: Fault) -> Persona:
    if key != "default" and "name" not in given:
        fault(path, "name is missing; allowed: text, the name that people call it by")
    name = given.get("name", DEFAULT_PERSONA.name)
    own = name != DEFAULT_PERSONA.name
    examples = [{"speaker": e.speaker, "text": e.text} for e in DEFAULT_PERSONA.examples]
    base = {
        "name": DEFAULT_PERSONA.name,
        # Without a description of its own, the default one speaks of this persona.
        "description": DEFAULT_PERSONA.description.replace(DEFAULT_PERSONA.name, str(name)),
        "examples": [] if own else examples,
        "fallback_lines": list(DEFAULT_PERSONA.fallback_lines),
    }
    persona: Persona | None = check_section({**base, **given}, Persona, path, fault)
    if persona is None:
        return DEFAULT_PERSONA
    if persona.name != speaker_name(persona.name):
        allowed = f"one line of up to {MAX_NAME_CHARS} characters, without a colon"
        fault((*path, "name"), refused(persona.name, allowed))
    if not persona.fallback_lines or not all(line.strip() for line in persona.fallback_lines):
        given_lines = list(persona.fallback_lines)
        fault((*path, "fallback_lines"), refused(given_lines, "one line at least, none empty"))
    return persona


def check_persona_name(name: str, path: Path, personas: Collection[str], fault: Fault) -> None:
    """Find a persona that is not there."""
    if name not in personas:
        fault(path, refused(name, ", ".join(personas)))


def check_overrides(
    value: dict[str, Any], personas: Collection[str], adapters: Collection[str], fault: Fault
) -> Mapping[str, Mapping[str, Any]]:
    """Return scope -> dotted key -> value."""
    found: dict[str, Mapping[str, Any]] = {}
    for scope, body in value.items():
        path: Path = ("overrides", scope)
        parts = scope.split("/")
        if not all(parts) or len(parts) > MAX_SCOPE_PARTS:
            allowed = (
                "adapter, adapter/SERVER, adapter/SERVER/CHANNEL or "
                "adapter/SERVER/CHANNEL/THREAD, with - for a part that there is not"
            )
            fault(path, f"is not a scope; allowed: {allowed}")
        elif parts[0] not in adapters:
            fault(path, f"the adapter {shown(parts[0])} {unknown(parts[0], adapters)}")
        elif body is not None and not isinstance(body, dict):
            fault(path, refused(body, SECTION))
        else:
            found[scope] = dict(_check_override(body or {}, path, personas, fault))
    return found


def _check_override(
    body: dict[str, Any], path: Path, personas: Collection[str], fault: Fault
) -> Iterator[tuple[str, Any]]:
    """Give the dotted keys that one scope sets; what it leaves out comes from wider scopes."""
    for key, inner in body.items():
        where = (*path, key)
        if key in PLAIN_KEYS:
            yield key, check_value(inner, KEYS[key], where, fault)
        elif key not in GROUPS:
            fault(where, unknown(key, [*GROUPS, *PLAIN_KEYS]))
        elif inner is not None and not isinstance(inner, dict):
            fault(where, refused(inner, SECTION))
        else:
            yield from _check_group(key, inner or {}, where, fault)
    if isinstance(persona := body.get("persona"), str):
        check_persona_name(persona, (*path, "persona"), personas, fault)


def _check_group(
    group: str, body: dict[str, Any], path: Path, fault: Fault
) -> Iterator[tuple[str, Any]]:
    for name, value in body.items():
        if name in GROUPS[group]:
            key = f"{group}.{name}"
            yield key, check_value(value, KEYS[key], (*path, name), fault)
        else:
            fault((*path, name), unknown(name, GROUPS[group]))
