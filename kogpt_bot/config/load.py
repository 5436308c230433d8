"""Loading the file: every fault is found, each with its line, column and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from kogpt_bot.adapter import AdapterPlugin
from kogpt_bot.config.sections import check_section, check_value, shown, unknown, walk
from kogpt_bot.config.settings import (
    GenerationSettings,
    Limits,
    LoggingSettings,
    Settings,
    StoreSettings,
)
from kogpt_bot.config.yaml import Document, dotted, read
from kogpt_bot.config.yaml import Path as KeyPath
from kogpt_bot.conversation.persona import DEFAULT_PERSONA, ExampleLine, Persona
from kogpt_bot.conversation.settings import (
    KEYS,
    ChannelSettings,
    Language,
    SettingsLayers,
    flatten,
)
from kogpt_bot.errors import ConfigurationError

GROUP = "kogpt_bot.adapters"
KNOWN_EXTRAS = {"discord": "discord", "telegram": "telegram"}  # adapters that come with an extra
SECTIONS = (
    "language", "data_dir", "defaults", "overrides", "personas",
    "generation", "adapters", "store", "logging", "limits",
)  # fmt: skip


def load(path: Path | None) -> Settings:
    """Return the settings of a file, or the defaults without one.

    Raises ConfigurationError with one line per fault: `file:line:column key: what, allowed`.
    """
    if path is None:
        return _Reading(Document(), "").settings()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read: {error.strerror}; `kogpt-bot config init` writes one"
        ) from error
    reading = _Reading(read(content), str(path))
    settings = reading.settings()
    reading.raise_faults()
    return settings


def check(path: Path) -> Settings:
    """Load a file and return its settings; ConfigurationError as `load`."""
    return load(path)


def initial_text() -> str:
    """Return the example file, for `kogpt-bot config init`."""
    packaged = Path(__file__).parent / "example.yaml"  # in a wheel; in a checkout it is on top
    path = packaged if packaged.is_file() else Path(__file__).parents[2] / "config.example.yaml"
    return path.read_text(encoding="utf-8")


def plugins() -> dict[str, EntryPoint]:
    """Return the installed adapters by name; nothing of them is imported yet."""
    return {each.name: each for each in entry_points(group=GROUP)}


def resolve_layers(settings: Settings) -> SettingsLayers:
    """Return the file's part of the per-channel settings: what differs from the built-in values."""
    built_in = flatten(ChannelSettings())
    own = flatten(settings.defaults)
    changed = {key: value for key, value in own.items() if value != built_in[key]}
    return SettingsLayers(file={"": changed, **settings.overrides})


class _Reading:
    """One pass over a document, collecting faults."""

    def __init__(self, document: Document, name: str) -> None:
        self._document = document
        self._name = name
        self._faults = [(mark, key, text) for mark, key, text in document.faults]

    def fault(self, path: KeyPath, message: str) -> None:
        """Note what is wrong at a path."""
        self._faults.append((self._document.mark(path), dotted(path), message))

    def raise_faults(self) -> None:
        """Raise what was found, in the order of the file."""
        if not self._faults:
            return
        lines = [
            f"{self._name}:{mark.line}:{mark.column} {key}: {text}".replace(" : ", " ")
            for mark, key, text in sorted(self._faults, key=lambda each: each[0])
        ]
        raise ConfigurationError("\n".join(lines))

    def settings(self) -> Settings:
        """Return the settings; where a section is wrong, its default stands in."""
        value = self._document.value
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.fault((), f"{shown(value)} is not allowed; allowed: sections with keys")
            value = {}
        for key in value:
            if key not in SECTIONS:
                self.fault((key,), unknown(key, list(SECTIONS)))
        personas = self._personas(value.get("personas"))
        language = self._scalar(value, "language", Language, Language.KO)
        defaults = check_section(value.get("defaults"), ChannelSettings, ("defaults",), self.fault)
        own = value.get("defaults")
        own = own if isinstance(own, dict) else {}
        if "language" not in own:
            defaults = replace(defaults, language=language)
        if isinstance(persona := own.get("persona"), str):
            self._known_persona(persona, ("defaults", "persona"), personas)
        data_dir = self._scalar(value, "data_dir", str | None, None)
        return Settings(
            language=language,
            data_dir=Path(data_dir).expanduser() if data_dir else user_state_path("kogpt-bot"),
            defaults=defaults,
            overrides=self._overrides(value.get("overrides"), personas),
            personas=personas,
            generation=self._generation(value.get("generation")),
            adapters=self._adapters(value.get("adapters")),
            store=check_section(value.get("store"), StoreSettings, ("store",), self.fault),
            logging=check_section(value.get("logging"), LoggingSettings, ("logging",), self.fault),
            limits=check_section(value.get("limits"), Limits, ("limits",), self.fault),
        )

    def _scalar(self, value: dict[str, Any], key: str, hint: Any, default: Any) -> Any:
        if value.get(key) is None:
            return default
        checked = check_value(value[key], hint, (key,), self.fault)
        return default if checked is None else checked

    def _section(self, value: Any, path: KeyPath) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(path, f"{shown(value)} is not allowed; allowed: a section with keys")
            return {}
        return value

    def _generation(self, value: Any) -> GenerationSettings:
        found: GenerationSettings = check_section(
            value, GenerationSettings, ("generation",), self.fault
        )
        if found.url is not None and not found.url.startswith(("http://", "https://")):
            self.fault(
                ("generation", "url"),
                f"{shown(found.url)} is not allowed; allowed: http://... or https://... or null",
            )
        if found.api_key_env and found.api_key_file:
            self.fault(("generation", "api_key_file"), "allowed: api_key_env or api_key_file")
        return found

    def _personas(self, value: Any) -> Mapping[str, Persona]:
        personas = {"default": DEFAULT_PERSONA}
        for key, body in self._section(value, ("personas",)).items():
            path: KeyPath = ("personas", key)
            fields = self._section(body, path)
            name = fields.get("name") or DEFAULT_PERSONA.name
            if key != "default" and "name" not in fields:
                self.fault(path, "name is missing; allowed: text, the name that people call it by")
            own = name != DEFAULT_PERSONA.name
            base = {
                "name": name,
                # Without a description of its own, the default one speaks of this persona.
                "description": DEFAULT_PERSONA.description.replace(DEFAULT_PERSONA.name, str(name)),
                "examples": [] if own else [_example(e) for e in DEFAULT_PERSONA.examples],
                "fallback_lines": list(DEFAULT_PERSONA.fallback_lines),
            }
            persona = check_section({**base, **fields}, Persona, path, self.fault)
            if not persona.name.strip() or not persona.fallback_lines:
                self.fault(path, "allowed: a name, and one fallback line at least")
            personas[key] = persona
        return personas

    def _known_persona(self, name: str, path: KeyPath, personas: Mapping[str, Persona]) -> None:
        if name not in personas:
            self.fault(path, f"{shown(name)} is not allowed; allowed: {', '.join(personas)}")

    def _overrides(
        self, value: Any, personas: Mapping[str, Persona]
    ) -> Mapping[str, Mapping[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for scope, body in self._section(value, ("overrides",)).items():
            path: KeyPath = ("overrides", scope)
            parts = scope.split("/")
            if not 1 <= len(parts) <= 4 or not all(parts):
                self.fault(
                    path,
                    "is not a scope; allowed: adapter, adapter/SERVER, adapter/SERVER/CHANNEL or "
                    "adapter/SERVER/CHANNEL/THREAD, with - for a part that there is not",
                )
                continue
            found[scope] = {}
            for inner, given in walk(self._section(body, path)):
                key = ".".join(str(each) for each in inner)
                if key not in KEYS:
                    self.fault((*path, *inner), unknown(key, list(KEYS)))
                    continue
                checked = check_value(given, KEYS[key], (*path, *inner), self.fault)
                found[scope][key] = checked
                if key == "persona" and checked is not None:
                    self._known_persona(checked, (*path, *inner), personas)
        return found

    def _adapters(self, value: Any) -> Mapping[str, Any]:
        installed = plugins()
        given = self._section(value, ("adapters",))
        found: dict[str, Any] = {}
        for name in given:
            if name not in installed:
                extra = KNOWN_EXTRAS.get(name)
                remedy = (
                    f"pip install 'kogpt-bot[{extra}]'"
                    if extra
                    else (f"installed: {', '.join(sorted(installed)) or 'none'}")
                )
                self.fault(("adapters", name), f"this adapter is not installed; {remedy}")
        for name, entry in sorted(installed.items()):
            plugin = _plugin(entry)
            body = dict(self._section(given.get(name), ("adapters", name)))
            enabled = self._scalar(
                body, "enabled", bool, name in given or plugin.enabled_by_default
            )
            body.pop("enabled", None)
            settings = check_section(body, plugin.settings, ("adapters", name), self.fault)
            if enabled:
                found[name] = settings
        return found


def _plugin(entry: EntryPoint) -> AdapterPlugin:
    plugin = entry.load()
    if not isinstance(plugin, AdapterPlugin):
        raise ConfigurationError(
            f"the adapter {entry.name} ({entry.value}) is no AdapterPlugin; update or remove it"
        )
    return plugin


def _example(line: ExampleLine) -> dict[str, str]:
    return {"speaker": line.speaker, "text": line.text}
