"""Counting tokens exactly as the serving model does, with its own tokenizer (no torch)."""

from __future__ import annotations

from typing import Protocol

from tokenizers import Tokenizer


class TokenCodec(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is special: `[EOS]` is five letters."""
        ...

    def encode_control(self, text: str) -> list[int]:
        """Return the ids of text of our own, in which special tokens are what they stand for."""
        ...


class ModelTokens:
    """A `TokenCodec` from the content of a `tokenizer.json`."""

    def __init__(self, tokenizer_json: bytes) -> None:
        text = tokenizer_json.decode()
        self._plain: Tokenizer = Tokenizer.from_str(text)
        self._plain.encode_special_tokens = True
        self._control: Tokenizer = Tokenizer.from_str(text)
        for tokenizer in (self._plain, self._control):
            tokenizer.no_truncation()
            tokenizer.no_padding()

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is special."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_control(self, text: str) -> list[int]:
        """Return the ids of text of our own."""
        return list(self._control.encode(text, add_special_tokens=False).ids)
