"""Keyed hashes that stand for people, channels and texts; the key never leaves data_dir.

Equal people (of one platform) get equal pseudonyms; without the key nobody can tell who it is,
nor try names until one fits.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import ChannelKey

KEY_FILE = "pseudonym.key"
KEY_BYTES = 32
PERSON_DIGITS = 24  # 96 bits: two people of a platform never share one
CHANNEL_DIGITS = 32


class Pseudonyms:
    """Makes pseudonyms with one key; it prints without it."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes; allowed: {KEY_BYTES} or more")
        self._key = key

    @classmethod
    def load(cls, data_dir: Path) -> Pseudonyms:
        """Read the key of a data folder, made at the first use; only its owner can read it."""
        path = data_dir / KEY_FILE
        try:
            return cls(path.read_bytes() if path.exists() else _made(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"{path}: cannot be used as the key: {reason}") from error

    def person(self, adapter: str, user_id: str) -> str:
        """Return what stands for a person of a platform."""
        return self._digest("person", adapter, user_id)[:PERSON_DIGITS]

    def channel(self, key: ChannelKey) -> str:
        """Return what stands for a channel where it need not be known which one it is."""
        return self._digest("channel", str(key))[:CHANNEL_DIGITS]

    def text(self, text: str) -> str:
        """Return what stands for a text: equal texts can be told, and nothing else."""
        return self._digest("text", text)

    def _digest(self, *parts: str) -> str:
        # Lengths between the parts, so that no two lists of parts read the same.
        message = b"".join(
            len(data).to_bytes(8, "big") + data
            for data in (part.encode("utf-8", "surrogatepass") for part in parts)
        )
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _made(path: Path) -> bytes:
    """Write a new key; where another process was faster, its key is the one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_bytes(KEY_BYTES)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # whole or not at all, and never over another one
        except FileExistsError:
            return path.read_bytes()
        return key
    finally:
        draft.unlink()
