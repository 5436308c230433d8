"""The example file and the schema say what the loader takes; neither can rot."""

import json
import re
from dataclasses import is_dataclass
from pathlib import Path

import yaml

from kogpt_bot import config
from kogpt_bot.config.adapters import plugins
from kogpt_bot.config.sections import section_hints
from kogpt_bot.config.settings import Settings

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
# The examples that are commented out stand in for the `{}` before them.
FULL = re.sub(r"^#(  .*)$", r"\1", TEXT, flags=re.MULTILINE)
FULL = re.sub(r"^(overrides|personas|owners): \{\}$", r"\1:", FULL, flags=re.MULTILINE)


def keys(kind, prefix=()):
    """Give the paths of every key of a settings class."""
    for name, hint in section_hints(kind).items():
        yield (*prefix, name)
        if is_dataclass(hint):
            yield from keys(hint, (*prefix, name))


def test_the_example_says_the_defaults_and_nothing_else():
    assert config.load(EXAMPLE) == config.load(None)
    assert config.initial_text() == TEXT


def test_the_example_has_every_key():
    document = yaml.safe_load(FULL)
    expected = list(keys(Settings))
    for name, entry in plugins().items():
        expected += [("adapters", name, "enabled")]
        expected += keys(entry.load().settings, ("adapters", name))
    assert len(expected) > 60
    for path in expected:
        inner = document
        for part in path:
            assert part in inner, path
            inner = inner[part]


def test_the_commented_examples_load(load):
    settings = load(FULL)
    assert settings.personas["poet"].examples
    assert len(settings.overrides) == 2


def schema_at(schema, *path):
    """Return the part of the schema for a path, through its references."""
    part = schema
    for each in path:
        part = part["properties"][each]
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    return part


def test_the_schema_is_what_the_loader_takes():
    schema = json.loads(json.dumps(config.json_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for path in ((), ("defaults",), ("defaults", "sampling"), ("adapters",), ("adapters", "web")):
        assert schema_at(schema, *path)["additionalProperties"] is False, path
    assert schema_at(schema, "defaults", "sampling", "temperature")["maximum"] == 5
    assert schema_at(schema, "adapters", "web", "enabled") == {"type": "boolean"}
    for path in keys(Settings):
        assert schema_at(schema, *path) is not None
    for reference in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)):
        assert reference in schema["$defs"]


def test_the_example_satisfies_the_schema():
    schema = config.json_schema()
    assert list(violations(yaml.safe_load(FULL), schema, schema)) == []
    broken = {"language": "fr", "defaults": {"sampling": {"top_k": -1}}, "x": 1}
    assert len(list(violations(broken, schema, schema))) == 3


TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
    "number": (int, float), "null": type(None),
}  # fmt: skip


def violations(value, schema, root):
    """Give what is wrong with a value, for the part of JSON Schema that ours is written in."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema and all(list(violations(value, s, root)) for s in schema["anyOf"]):
        yield value, schema
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(isinstance(value, TYPES[name]) for name in names):
        yield value, schema
        return
    if "enum" in schema and value not in schema["enum"]:
        yield value, schema
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield value, schema
    if isinstance(value, int | float) and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield value, schema
    if isinstance(value, list):
        for each in value:
            yield from violations(each, schema.get("items", {}), root)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        other = schema.get("additionalProperties", True)
        for key, inner in value.items():
            if key in known or other is not False:
                part = known.get(key, other if isinstance(other, dict) else {})
                yield from violations(inner, part, root)
            else:
                yield key, schema
