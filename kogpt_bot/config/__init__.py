"""The configuration: YAML in, frozen settings out; the only place that knows YAML."""

from kogpt_bot.config.load import check, data_dir, initial_text, load, resolve_layers
from kogpt_bot.config.schema import json_schema
from kogpt_bot.config.settings import (
    ConsoleSettings,
    GenerationSettings,
    Limits,
    LoggingSettings,
    ModerationSettings,
    PrivacySettings,
    Settings,
    StoreSettings,
)

__all__ = [
    "ConsoleSettings",
    "GenerationSettings",
    "Limits",
    "LoggingSettings",
    "ModerationSettings",
    "PrivacySettings",
    "Settings",
    "StoreSettings",
    "check",
    "data_dir",
    "initial_text",
    "json_schema",
    "load",
    "resolve_layers",
]
