"""A checkpoint's files, looked at without torch: there, whole, and how many parameters."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kogpt_bot.ops.doctor.check import Check, failure, ok

MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.json")
SIZES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Weights:
    """How many parameters, the precision that they are stored in, and how many keys and values
    one whole context has."""

    parameters: int
    dtype: str
    context_numbers: int = 0


class Damaged(Exception):
    """A file is not what its name says; the message says how."""


def files(folder: Path, again: str) -> tuple[list[Check], Weights | None]:
    """Return the findings, and what the weights are where they can be read.

    `again` is the remedy for what is missing.
    """
    found: list[Check] = []
    config = _config(folder, again, found)
    tokenizer = next((each for each in TOKENIZERS if (folder / each).is_file()), None)
    missing = failure("tokenizer", f"missing in {folder}", f"{again}; it is in tokenizer.json")
    found.append(ok("tokenizer", tokenizer) if tokenizer else missing)
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    try:
        paths = _weight_files(folder)
        parameters = sum(_parameters(each, dtype) for each in paths)
    except (Damaged, OSError) as error:
        found.append(failure("weights", str(error), again))
        return found, None
    found.append(ok("weights", f"{paths[0].name}: {parameters:,} parameters, {dtype}"))
    return found, Weights(parameters, dtype, _context_numbers(config))


def _config(folder: Path, again: str, found: list[Check]) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["model_type"]
    except FileNotFoundError:
        found.append(failure("config.json", f"missing in {folder}", again))
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        found.append(failure("config.json", f"{path} is not a model's configuration", again))
        return {}
    if kind == "gptj":
        found.append(ok("config.json", str(path)))
    else:
        remedy = "use a GPT-J model, or serve this one elsewhere and set generation.url"
        found.append(failure("config.json", f"{path}: model_type is {kind}", remedy))
    return dict(config)


def _context_numbers(config: dict[str, Any]) -> int:
    """Return how many keys and values a whole context has; 0 where it is not said."""
    sizes = [config.get(name) for name in ("n_layer", "n_embd", "n_positions")]
    known = [each for each in sizes if isinstance(each, int)]
    return 2 * math.prod(known) if len(known) == len(sizes) else 0


def _weight_files(folder: Path) -> list[Path]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if not index.is_file():
            continue
        try:
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise Damaged(f"{index} is not an index of weights") from error
        if missing := [each for each in shards if not (folder / each).is_file()]:
            raise Damaged(f"{len(missing)} of {len(shards)} files are missing: {missing[0]}")
        return [folder / each for each in shards]
    raise Damaged(f"none in {folder}: no model.safetensors, no pytorch_model.bin")


def _parameters(path: Path, dtype: str) -> int:
    """Return how many numbers a file holds: by its header, or else by its size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start == b"version ":
            raise Damaged(f"{path.name} is a pointer of Git LFS, not the weights")
        if path.suffix != ".safetensors":
            return size // SIZES.get(dtype, 4)
        length = int.from_bytes(start, "little")
        if length > min(size, MAX_HEADER_BYTES):
            raise Damaged(f"{path.name} is damaged or cut off: it has no header")
        content = file.read(length)
    try:
        header = json.loads(content)
        tensors = [each for name, each in header.items() if name != "__metadata__"]
        end = 8 + length + max((each["data_offsets"][1] for each in tensors), default=0)
        numbers: int = sum(math.prod(each["shape"]) for each in tensors)
    except (ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise Damaged(f"{path.name} is damaged: its header cannot be read") from error
    if end != size:
        raise Damaged(f"{path.name} has {size:,} bytes instead of {end:,}: cut off or damaged")
    return numbers
