"""Counting tokens exactly as the serving model does, with its own tokenizer (no torch)."""

from __future__ import annotations

import json
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram

# Words whose ids are remembered. The library's 10,000 take megabytes, and fill for days.
CACHED_WORDS = 2_000


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
        self._plain: Tokenizer = Tokenizer.from_str(_all_special(text))
        self._plain.encode_special_tokens = True
        self._control: Tokenizer = Tokenizer.from_str(text)
        for tokenizer in (self._plain, self._control):
            tokenizer.no_truncation()
            tokenizer.no_padding()
            if isinstance(tokenizer.model, BPE | Unigram):
                tokenizer.model._resize_cache(CACHED_WORDS)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is special."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_control(self, text: str) -> list[int]:
        """Return the ids of text of our own."""
        return list(self._control.encode(text, add_special_tokens=False).ids)


def _all_special(tokenizer_json: str) -> str:
    """Mark every added token as special, so that `encode_special_tokens` covers all of them.

    Some models add control tokens (`<think>`, `<tool_call>`) without that mark.
    """
    content = json.loads(tokenizer_json)
    for token in content.get("added_tokens", ()):
        token["special"] = token.get("special", False) or bool(token["content"].strip())
    return json.dumps(content)
