"""Secrets: read from the environment or a file, never shown."""

from __future__ import annotations

import os
from pathlib import Path

from kogpt_bot.errors import ConfigurationError

MAX_BYTES = 64 * 1024  # no token is longer; a device file has no end
OTHERS = 0o077  # what the group and everybody may do


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

    `key` is the configuration key, for the message of the ConfigurationError. A file that others
    can read is taken, with a warning in the log.
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
        return _one_line(f"{key}_env: {env}", value)
    if file:
        value = _content(key, file)
        if open_to_others(file):
            import structlog  # here: this module is part of what adapters import, and stays light

            log = structlog.get_logger(__name__)
            log.warning("secret_readable_by_others", key=f"{key}_file", remedy=f"chmod 600 {file}")
        return _one_line(f"{key}_file: {file}", value)
    return None


def open_to_others(file: str) -> bool:
    """Return whether others than its owner may read or write a secret's file."""
    try:
        return bool(Path(file).expanduser().stat().st_mode & OTHERS)
    except (OSError, RuntimeError):
        return False  # there is none; `read_secret` says so


def _content(key: str, file: str) -> str:
    try:
        with Path(file).expanduser().open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        value = content.decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        reason = "no such user" if isinstance(error, RuntimeError) else reason  # ~nobody
        raise ConfigurationError(f"{key}_file: {file} cannot be read: {reason}") from None
    if not value:
        raise ConfigurationError(f"{key}_file: {file} is empty; write the secret into it")
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{key}_file: {file} is larger than {MAX_BYTES} bytes")
    return value


def _one_line(where: str, value: str) -> Secret:
    if not value.isprintable():  # a line break in it would forge a header
        raise ConfigurationError(f"{where} holds more than one line of text; allowed: the secret")
    return Secret(value)
