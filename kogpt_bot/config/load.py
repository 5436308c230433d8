"""Loading the file: every fault is found, each with its line, column and key."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from annotated_types import MinLen
from platformdirs import user_state_path

from kogpt_bot.config.adapters import KNOWN_EXTRAS, check_adapters, plugins
from kogpt_bot.config.channels import check_overrides, check_persona_name, check_personas
from kogpt_bot.config.describe import SECTION
from kogpt_bot.config.sections import check_section, check_value, refused, shown, unknown
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
from kogpt_bot.config.yaml import MAX_BYTES, Document, dotted, read
from kogpt_bot.config.yaml import Path as KeyPath
from kogpt_bot.conversation.persona import Persona
from kogpt_bot.conversation.settings import ChannelSettings, Language, SettingsLayers, flatten
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.loopback import is_loopback
from kogpt_bot.messages import ChannelKey

__all__ = ["check", "data_dir", "initial_text", "load", "plugins", "resolve_layers"]

SECTIONS = (
    "language", "data_dir", "defaults", "overrides", "personas",
    "generation", "adapters", "owners", "store", "moderation", "privacy", "console", "logging",
    "limits",
)  # fmt: skip
WITHOUT_FILE = "(no file)"  # stands for the file's name where a plug-in is at fault
_ADDRESS = re.compile(r"[^@\s<>,;:]+@[^@\s<>,;:]+")
_DATABASE = re.compile(r"sqlite\+aiosqlite:///.+|postgresql\+asyncpg://.+")

Section = TypeVar("Section")


def load(path: Path | None) -> Settings:
    """Return the settings of a file, or the defaults without one.

    Raises ConfigurationError with one line per fault: `file:line:column key: what, allowed`.
    """
    reading = _read(path)
    settings = reading.settings()
    reading.raise_faults()
    return settings


def data_dir(path: Path | None) -> Path:
    """Return the data folder that a file names, whatever else is wrong in it.

    A daemon that runs by its last good configuration can be asked with it. Raises
    ConfigurationError as `load`, for this key and for what is no YAML at all.
    """
    reading = _read(path)
    folder = reading.data_dir()
    reading.raise_faults()
    return folder


def _read(path: Path | None) -> _Reading:
    if path is None:
        return _Reading(Document(), WITHOUT_FILE)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # one more tells that it is too large
    except OSError as error:
        raise ConfigurationError(
            f"{path}:1:1 cannot be read: {error.strerror}; `kogpt-bot config init` writes one"
        ) from error
    return _Reading(read(content), str(path))


def check(path: Path) -> Settings:
    """Load a file and return its settings; ConfigurationError as `load`."""
    return load(path)


def initial_text() -> str:
    """Return the example file, for `kogpt-bot config init`."""
    packaged = Path(__file__).parent / "example.yaml"  # in a wheel; in a checkout it is on top
    path = packaged if packaged.is_file() else Path(__file__).parents[2] / "config.example.yaml"
    return path.read_text(encoding="utf-8")


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
        self._faults = list(document.faults)
        self._value: dict[str, Any] = self._mapping(document.value, ())

    def fault(self, path: KeyPath, message: str) -> None:
        """Note what is wrong at a path; what the YAML itself says of it is enough."""
        key = dotted(path)
        if not any(key == known for _, known, _ in self._document.faults):
            self._faults.append((self._document.mark(path), key, message))

    def raise_faults(self) -> None:
        """Raise what was found, in the order of the file."""
        if not self._faults:
            return
        lines = [
            f"{self._name}:{mark.line}:{mark.column} {f'{key}: ' if key else ''}{message}"
            for mark, key, message in sorted(self._faults, key=lambda each: each[0])
        ]
        raise ConfigurationError("\n".join(lines))

    def settings(self) -> Settings:
        """Return the settings; where a section is wrong, its default stands in."""
        for key in self._value:
            if key not in SECTIONS:
                self.fault((key,), unknown(key, SECTIONS))
        personas = check_personas(self._section("personas"), self.fault)
        language = self._scalar("language", Language, Language.KO)
        known_adapters = {**plugins(), **KNOWN_EXTRAS}
        return Settings(
            language=language,
            data_dir=self.data_dir(),
            defaults=self._defaults(language, personas),
            overrides=check_overrides(
                self._section("overrides"), personas, known_adapters, self.fault
            ),
            personas=personas,
            generation=self._generation(),
            adapters=check_adapters(self._section("adapters"), self.fault),
            owners=self._owners(known_adapters),
            store=self._store(),
            moderation=self._moderation(known_adapters),
            console=self._console(),
            privacy=self._plain("privacy", PrivacySettings),
            logging=self._plain("logging", LoggingSettings),
            limits=self._plain("limits", Limits),
        )

    def _mapping(self, value: Any, path: KeyPath) -> dict[str, Any]:
        if value is None or isinstance(value, dict):
            return value or {}
        self.fault(path, refused(value, SECTION))
        return {}

    def _section(self, key: str) -> dict[str, Any]:
        return self._mapping(self._value.get(key), (key,))

    def _plain(self, key: str, kind: type[Section]) -> Section:
        found: Section | None = check_section(self._value.get(key), kind, (key,), self.fault)
        return kind() if found is None else found

    def _scalar(self, key: str, hint: Any, default: Any) -> Any:
        if self._value.get(key) is None:
            return default
        checked = check_value(self._value[key], hint, (key,), self.fault)
        return default if checked is None else checked

    def data_dir(self) -> Path:
        """Return the folder that is named, or the user's."""
        folder = self._scalar("data_dir", str, None)
        if folder is None:
            return user_state_path("kogpt-bot")
        if not folder.strip():
            self.fault(("data_dir",), refused(folder, "a folder, or null"))
        try:
            return Path(folder).expanduser()
        except RuntimeError:  # ~nobody
            self.fault(("data_dir",), f"{refused(folder, 'a folder')}; there is no such user")
            return Path(folder)

    def _defaults(self, language: Language, personas: Mapping[str, Persona]) -> ChannelSettings:
        found = self._plain("defaults", ChannelSettings)
        given = self._value.get("defaults")
        given = given if isinstance(given, dict) else {}
        if isinstance(persona := given.get("persona"), str):
            check_persona_name(persona, ("defaults", "persona"), personas, self.fault)
        return found if "language" in given else replace(found, language=language)

    def _generation(self) -> GenerationSettings:
        found = self._plain("generation", GenerationSettings)
        if found.url is not None and (wrong := _wrong_url(found.url)):
            self.fault(("generation", "url"), wrong)
        return found

    def _owners(self, adapters: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, ids in self._section("owners").items():
            path = ("owners", name)
            if name not in adapters:
                self.fault(path, unknown(name, sorted(adapters)))
            elif ids is not None:
                checked = check_value(ids, tuple[Annotated[str, MinLen(1)], ...], path, self.fault)
                found[name] = checked or ()
        return found

    def _store(self) -> StoreSettings:
        found = self._plain("store", StoreSettings)
        if found.url is None:
            return found
        if not _DATABASE.fullmatch(found.url):
            allowed = "sqlite+aiosqlite:///FILE, postgresql+asyncpg://USER@HOST/DATABASE, or null"
            self.fault(("store", "url"), refused(found.url, allowed))
        elif found.url.startswith("postgresql") and find_spec("asyncpg") is None:
            remedy = "pip install 'kogpt-bot[postgres]'"
            self.fault(("store", "url"), f"asyncpg is not installed; {remedy}")
        return found

    def _console(self) -> ConsoleSettings:
        found = self._plain("console", ConsoleSettings)
        protected = found.token_env is not None or found.token_file is not None
        if found.enabled and not is_loopback(found.host) and not protected:
            self.fault(
                ("console", "host"),
                f"{found.host} is reachable from other machines; allowed: 127.0.0.1, or a token "
                "besides (token_env or token_file)",
            )
        return found

    def _moderation(self, adapters: Collection[str]) -> ModerationSettings:
        found = self._plain("moderation", ModerationSettings)
        if found.notify is not None:
            try:
                name = ChannelKey.parse(found.notify).adapter
            except ValueError:
                allowed = "adapter/SERVER/CHANNEL/THREAD, with - for a part that there is not"
                self.fault(("moderation", "notify"), refused(found.notify, allowed))
            else:
                if name not in adapters:
                    message = f"the adapter {shown(name)} {unknown(name, adapters)}"
                    self.fault(("moderation", "notify"), message)
        if not _ADDRESS.fullmatch(found.report_to):
            self.fault(("moderation", "report_to"), refused(found.report_to, "an e-mail address"))
        return found


def _wrong_url(url: str) -> str:
    """Return what is wrong with the address of a service; "" where nothing is."""
    allowed = "http://HOST:PORT or https://HOST, or null for a process of our own"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is no number
        return refused(url, allowed)
    if parts.password or parts.username:
        return "a secret does not stand in the file; allowed: an address without user and password"
    if not good or parts.query or parts.fragment or re.search(r"\s", url):
        return refused(url, allowed)
    return ""
