"""The model that is evaluated: a service of our own for the time, or somebody's by its URL."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kogpt_bot.errors import ConfigurationError, GenerationUnavailable, ModelError
from kogpt_bot.evaluation.harness import Target
from kogpt_bot.generation.client import GenerationClient
from kogpt_bot.generation.source import DEFAULT_CONTEXT

LOAD_S = 3600.0  # a download and a load of 12 GB
POLL_S = 0.2
STOP_S = 30.0  # for the child to end in peace


@contextmanager
def own_service(model: str, revision: str | None, device: str | None) -> Iterator[Target]:
    """Serve a model on a free port of the loopback; ModelError when it cannot be loaded."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kogpt_bot", "serve", "--port", str(port), "--model", model]
    command += ["--parent", str(os.getpid())]  # it does not outlive us, however we end
    command += ["--revision", revision] if revision else []
    command += ["--device", device] if device else []
    child = subprocess.Popen(command)  # noqa: S603  # ourselves
    try:
        yield asyncio.run(_target(f"http://127.0.0.1:{port}", "", None, lambda: _alive(child)))
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _alive(child: subprocess.Popen[bytes]) -> None:
    """Raise ModelError when the child has ended; it has said why."""
    if (status := child.poll()) is not None:
        raise ModelError(f"the generation service ended with status {status}")


def foreign_service(url: str, api_key: str, tokenizer: Path | None) -> Target:
    """Return the model that a service serves; `tokenizer` is a file, for one that gives none."""
    base = url.rstrip("/").removesuffix("/v1")
    content = None
    if tokenizer is not None:
        path = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"--tokenizer {path}: {error.strerror}") from error
    return asyncio.run(_target(base, api_key, content, None))


async def _target(
    base: str, api_key: str, tokenizer: bytes | None, check: Callable[[], None] | None
) -> Target:
    client = GenerationClient(base, api_key=api_key)
    try:
        await _ready(client, check)
        served = await client.model()
        content = tokenizer if tokenizer is not None else await client.tokenizer_json()
    finally:
        await client.close()
    if content is None:
        raise ConfigurationError(
            f"{base} gives no tokenizer; name its tokenizer.json with --tokenizer"
        )
    context = served.context_length or DEFAULT_CONTEXT
    return Target(f"{base}/v1", served.name, context, content, api_key)


async def _ready(client: GenerationClient, check: Callable[[], None] | None) -> None:
    """Wait until the model is loaded; a child may need a moment until it listens."""
    deadline = time.monotonic() + LOAD_S
    while time.monotonic() < deadline:
        try:
            if check is not None:
                check()
            if (await client.health()).ready:
                return
        except GenerationUnavailable:
            if check is None:
                raise
        await asyncio.sleep(POLL_S)
    raise GenerationUnavailable(f"the model was not loaded within {LOAD_S:g} s")
