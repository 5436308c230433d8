"""What a log must not show: secrets become `***`, ids of people and places become pseudonyms.

Secrets are known in two ways: the ones that were loaded, wherever they turn up, and the shapes that
tokens have, for those that nobody told us of (in a traceback, or in a library's URL).
"""

from __future__ import annotations

import hashlib
import re
import secrets as randomness
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from kogpt_bot.messages import Author, ChannelKey
from kogpt_bot.secret import Secret

SHOWN = "***"
MIN_SECRET_CHARS = 6  # a shorter one would be found in ordinary words
MAX_DEPTH = 6
ID_FIELDS = frozenset({"author", "channel", "guild", "room", "server", "thread", "user"})

# (pattern, what stays of it)
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Telegram's tokens, also in the path of its URLs: /bot123456:AAF...
    (re.compile(r"\b(bot)?\d{6,12}(?::|%3[Aa])[A-Za-z0-9_-]{30,}"), rf"\1{SHOWN}"),
    # Discord's tokens: the bot's id in base64, a time, a signature
    (re.compile(r"\b[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,}"), SHOWN),
    (re.compile(r"\b(hf_|sk-|ghp_|xox[bp]-)[A-Za-z0-9_-]{16,}"), rf"\1{SHOWN}"),
    # Authorization: Bearer x, 'authorization': 'Bot x', and the bytes of such a header
    (
        re.compile(
            r"""(?i)(authorization["']?\s*[:=,]\s*(?:b(?=["']))?["']?)(?:(bearer|bot|basic|token)\s+)?[^\s"',}]+"""
        ),
        rf"\1{SHOWN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {SHOWN}"),
    # postgresql://user:password@host
    (re.compile(r"(://[^/?#\s:@]*:)[^/?#\s@]+@"), rf"\1{SHOWN}@"),
    # ?token=x&api_key=y, password: 'x'
    (
        re.compile(
            r"""(?i)\b((?:access_|auth_|api_?|bot_|secret_)?(?:token|key|password|passwd|secret))"""
            r"""(["']?\s*=\s*["']?|["']\s*:\s*["'])[^\s"'&,;}\])]{6,}"""
        ),
        rf"\1\2{SHOWN}",
    ),
)
_SNOWFLAKE = re.compile(r"(?<![\w.-])\d{17,20}(?![\w.])")  # an id of Discord, in a sentence


class Redactor:
    """A processor for structlog, the last before the event is rendered."""

    def __init__(self, secrets: Iterable[Secret] = (), salt: bytes = b"") -> None:
        # Without a salt of its own nobody can find the id to a pseudonym by trying all ids.
        self._salt = salt or randomness.token_bytes(16)
        self._known: re.Pattern[str] | None = None
        self._secrets: set[str] = set()
        self.learn(secrets)

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Know these too; what was known before stays known."""
        for secret in secrets:
            value = secret.reveal()
            if len(value) >= MIN_SECRET_CHARS:
                self._secrets |= {
                    value,
                    quote(value, safe=""),
                    value.encode("unicode_escape").decode(),
                }
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, _logger: Any, _method: str, event: Any) -> Any:
        """Return the event without what it must not show."""
        return {self.text(str(key)): self._value(key, value, 0) for key, value in event.items()}

    def text(self, text: str) -> str:
        """Return a text without secrets and ids."""
        if self._known is not None:
            text = self._known.sub(SHOWN, text)
        for shape, kept in _SHAPES:
            text = shape.sub(kept, text)
        return _SNOWFLAKE.sub(lambda found: self.pseudonym(found.group()), text)

    def pseudonym(self, id_: str) -> str:
        """Return what stands for an id: the same one each time, until the process ends."""
        digest = hashlib.blake2s(id_.encode(errors="replace"), key=self._salt, digest_size=5)
        return f"#{digest.hexdigest()}"

    def _value(self, key: Any, value: Any, depth: int) -> Any:
        if key in ID_FIELDS and isinstance(value, str | int):
            return self.pseudonym(str(value))
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth < MAX_DEPTH and isinstance(value, Mapping):
            return {self.text(str(k)): self._value(k, v, depth + 1) for k, v in value.items()}
        if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self._value(key, each, depth + 1) for each in value]
        return self._other(value)

    def _other(self, value: Any) -> str:
        if isinstance(value, ChannelKey):
            return f"{value.adapter}{self.pseudonym(str(value))}"
        if isinstance(value, Author):
            return self.pseudonym(value.id)
        return self.text(value if isinstance(value, str) else repr(value))
