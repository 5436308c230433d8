"""The configuration's JSON Schema, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from kogpt_bot.config.adapters import load_plugin, plugins
from kogpt_bot.config.settings import Settings
from kogpt_bot.config.yaml import Path, dotted
from kogpt_bot.errors import ConfigurationError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCOPE = "^[^/]+(/[^/]+){0,3}$"


def json_schema() -> dict[str, Any]:
    """Return the schema of the file, with a section for each installed adapter.

    Raises ConfigurationError for an adapter that cannot be loaded.
    """
    kinds: dict[str, Any] = {"": Settings}
    for name, entry in sorted(plugins().items()):
        plugin = load_plugin(entry, ("adapters", name), _refuse)
        kinds[name] = plugin.settings if plugin is not None else dict[str, Any]
    # One call for all, so that two adapters' classes of the same name are kept apart.
    found, shared = TypeAdapter.json_schemas(
        [(name, "validation", TypeAdapter(kind)) for name, kind in kinds.items()]
    )
    definitions = shared["$defs"]
    for each in definitions.values():
        if "properties" in each:
            each.setdefault("additionalProperties", False)
    root = definitions.pop("Settings")
    adapters = {name: found[name, "validation"] for name in kinds if name}
    for each in adapters.values():
        section = definitions[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        section.setdefault("properties", {})["enabled"] = {"type": "boolean"}
    root["properties"] |= {
        "data_dir": {"type": ["string", "null"], "default": None},
        "adapters": {"type": "object", "properties": adapters, "additionalProperties": False},
        "overrides": {
            "type": "object",
            "propertyNames": {"pattern": SCOPE},
            "additionalProperties": {"$ref": "#/$defs/ChannelSettings"},
        },
    }
    about = {"title": "kogpt-bot", "description": "The configuration of kogpt-bot."}
    return {"$schema": DIALECT, **root, **about, "$defs": definitions}


def _refuse(path: Path, message: str) -> None:
    raise ConfigurationError(f"{dotted(path)}: {message}")
