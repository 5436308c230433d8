"""What applies in a channel: its effective settings and its persona."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kogpt_bot.conversation.persona import DEFAULT_PERSONA, Persona
from kogpt_bot.conversation.settings import (
    EffectiveSettings,
    Overrides,
    SettingsLayers,
    resolve,
)
from kogpt_bot.messages import ChannelKey

RESOLVED = 1_000  # channels whose settings are at hand; others are resolved anew


class ChannelBook:
    """The settings of every channel: the file's layer, and the commands' on top of it."""

    def __init__(self, layers: SettingsLayers, personas: Mapping[str, Persona]) -> None:
        self._layers = layers
        self._personas = personas
        self._resolved: dict[ChannelKey, EffectiveSettings] = {}

    def effective(self, key: ChannelKey) -> EffectiveSettings:
        """Return what applies in a channel, with the source of each value."""
        if (known := self._resolved.get(key)) is None:
            if len(self._resolved) >= RESOLVED:
                self._resolved.clear()
            known = self._resolved[key] = resolve(key, self._layers)
        return known

    def persona(self, name: str) -> Persona:
        """Return a persona; the default one for a name that a command set and the file dropped."""
        return self._personas.get(name, self._personas.get("default", DEFAULT_PERSONA))

    @property
    def personas(self) -> Mapping[str, Persona]:
        """Every persona that can be chosen, by its key."""
        return self._personas

    def take_commands(self, command: Overrides) -> None:
        """Take over what commands have set; the file's part stays."""
        self._layers = replace(self._layers, command=command)
        self._resolved.clear()

    def replace(self, layers: SettingsLayers, personas: Mapping[str, Persona]) -> None:
        """Take over changed settings; answers that are being written keep the old ones."""
        self._layers = layers
        self._personas = personas
        self._resolved.clear()
