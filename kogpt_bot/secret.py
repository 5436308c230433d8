"""Secrets: read from the environment or a file, never shown."""

from __future__ import annotations

import os
from pathlib import Path

from kogpt_bot.errors import ConfigurationError


class Secret:
    """A token or a key. It prints as `***`; only `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, to hand it to the service that it is for."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be stored")


def read_secret(key: str, env: str | None, file: str | None) -> Secret | None:
    """Return the secret that `KEY_env` or `KEY_file` names; None where neither is set.

    `key` is the configuration key, for the message of the ConfigurationError.
    """
    if env and file:
        raise ConfigurationError(f"{key}: both {key}_env and {key}_file are set; allowed: one")
    if env:
        value = os.environ.get(env, "").strip()
        if not value:
            raise ConfigurationError(
                f"{key}_env: the environment variable {env} is not set or empty; set it, or name "
                "another"
            )
        return Secret(value)
    if file:
        path = Path(file).expanduser()
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise ConfigurationError(f"{key}_file: {path} cannot be read: {reason}") from error
        if not value:
            raise ConfigurationError(f"{key}_file: {path} is empty; write the secret into it")
        return Secret(value)
    return None
