"""What the HTTP API needs of an engine (no torch): `engine.Engine`, or a fake in the tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from kogpt_bot.generation.figures import EngineStats
from kogpt_bot.generation.request import Chunk, GenerationRequest


class InfoPort(Protocol):
    """What is served."""

    @property
    def name(self) -> str:
        """The name that requests may give."""
        ...

    @property
    def revision(self) -> str | None:
        """The hub's revision, where there is one."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        ...

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text."""
        ...

    @property
    def dtype(self) -> str:
        """The precision that is computed in."""
        ...

    @property
    def device(self) -> str:
        """Where it is computed."""
        ...


class EnginePort(Protocol):
    """An engine that was started."""

    @property
    def info(self) -> InfoPort:
        """What is served."""
        ...

    @property
    def tokenizer_json(self) -> str:
        """The content of the model's `tokenizer.json`."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is special."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Stream a continuation; raises GenerationError and nothing else."""
        ...

    def stats(self) -> EngineStats:
        """Return what the engine does."""
        ...

    async def close(self) -> None:
        """End the engine."""
        ...
