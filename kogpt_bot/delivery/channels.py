"""What applies in a channel: its effective settings and its persona."""

from __future__ import annotations

from collections.abc import Mapping

from kogpt_bot.conversation.persona import DEFAULT_PERSONA, Persona
from kogpt_bot.conversation.settings import EffectiveSettings, SettingsLayers, resolve
from kogpt_bot.messages import ChannelKey


class ChannelBook:
    """The settings of every channel: the file's layer, and the commands' on top of it."""

    def __init__(self, layers: SettingsLayers, personas: Mapping[str, Persona]) -> None:
        self._layers = layers
        self._personas = personas

    def effective(self, key: ChannelKey) -> EffectiveSettings:
        """Return what applies in a channel, with the source of each value."""
        return resolve(key, self._layers)

    def persona(self, name: str) -> Persona:
        """Return a persona; the default one for a name that a command set and the file dropped."""
        return self._personas.get(name, self._personas.get("default", DEFAULT_PERSONA))

    def replace(self, layers: SettingsLayers, personas: Mapping[str, Persona]) -> None:
        """Take over changed settings; answers that are being written keep the old ones."""
        self._layers = layers
        self._personas = personas
