"""What the child process is told, as JSON on its command line (no torch)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

FAILED_FOR_GOOD = 78  # exit status: starting again would fail the same way
DEVICE_FAILED = 70  # exit status: the GPU is in a state that only a new process gets out of


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Which model is served, and how. None and "auto" let the service choose."""

    model: str = "mini"
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    max_sequences: int | None = None
    quantization: str = "none"
    kv_cache_dtype: str = "auto"
    kv_cache_gib: float | None = None
    host_cache_gib: float | None = None

    def to_json(self) -> str:
        """Return the options as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServiceOptions:
        """Return the options of `to_json`."""
        return cls(**json.loads(text))
