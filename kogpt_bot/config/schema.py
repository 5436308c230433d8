"""The configuration's JSON Schema, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from kogpt_bot.config.load import plugins
from kogpt_bot.config.settings import Settings
from kogpt_bot.conversation.settings import ChannelSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of the file, with a section for each installed adapter."""
    schema = TypeAdapter(Settings).json_schema(ref_template="#/$defs/{model}")
    definitions = schema.setdefault("$defs", {})
    channel = TypeAdapter(ChannelSettings).json_schema(ref_template="#/$defs/{model}")
    definitions.update(channel.pop("$defs", {}))
    definitions["ChannelSettings"] = channel
    adapters: dict[str, Any] = {}
    for name, entry in plugins().items():
        section = TypeAdapter(entry.load().settings).json_schema(ref_template="#/$defs/{model}")
        definitions.update(section.pop("$defs", {}))
        section.setdefault("properties", {})["enabled"] = {"type": "boolean"}
        adapters[name] = section
    properties = schema["properties"]
    properties["adapters"] = {
        "type": "object",
        "properties": adapters,
        "additionalProperties": False,
    }
    properties["overrides"] = {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/ChannelSettings"},
    }
    properties["data_dir"] = {"type": ["string", "null"]}
    for each in (schema, *definitions.values(), *adapters.values()):
        if each.get("type") == "object":
            each.setdefault("additionalProperties", False)
    return {"$schema": DIALECT, "title": "kogpt-bot", **schema}
