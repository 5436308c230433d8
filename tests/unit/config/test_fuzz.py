"""Whatever is in the file: it is fine, or each fault names its key; never a traceback."""

import random
import re
from pathlib import Path

import pytest
import yaml

from kogpt_bot import config
from kogpt_bot.config.yaml import dotted
from kogpt_bot.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
FULL = re.sub(r"^#(  .*)$", r"\1", TEXT, flags=re.MULTILINE)
FULL = re.sub(r"^(overrides|personas|owners): \{\}$", r"\1:", FULL, flags=re.MULTILINE)
VALUES = [None, -1, 10**9, 1e300, "???", "~x", [], {}, ["x"], [None], True, 0.5, {"a": {"b": 1}}]


def mutate(value, rng, path=()):
    """Return a copy with one thing broken, and the path of that."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        inner, broken = mutate(value[key], rng, (*path, key))
        return {**value, key: inner}, broken
    if isinstance(value, dict) and rng.random() < 0.5:
        return {**value, "unknown": 1}, (*path, "unknown")
    if isinstance(value, list) and value and rng.random() < 0.5:
        inner, broken = mutate(value[0], rng, (*path, 0))
        return [inner, *value[1:]], broken
    return rng.choice(VALUES), path


@pytest.mark.parametrize("seed", range(100))
def test_a_broken_value_is_refused_by_its_key_or_is_fine(tmp_path, seed):
    rng = random.Random(seed)
    document, where = yaml.safe_load(FULL), []
    for _ in range(rng.randint(1, 4)):
        document, path = mutate(document, rng)
        where.append(dotted(path))
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    try:
        config.load(path)
    except ConfigurationError as error:
        for line in str(error).split("\n"):
            said = line.removeprefix(f"{path}:")
            key = re.fullmatch(r"\d+:\d+ (?:([^ ]+): )?.+", said).group(1)
            related = key is None or any(key.startswith(w) or w.startswith(key) for w in where)
            # Where the persona is gone, who names it is at fault.
            assert related or key.endswith(".persona"), (line, where)


@pytest.mark.parametrize("seed", range(100))
def test_a_broken_text_is_refused_or_is_fine(tmp_path, seed):
    rng = random.Random(seed)
    text = list(FULL.encode())
    for _ in range(rng.randint(1, 8)):
        begin = rng.randrange(len(text))
        piece = rng.choice(
            [b"", b":", b"\t", b"\n", b"[", b"}", b"&a", b"\xff", b"'", b"#", b"? ", b"!!int "]
        )
        text[begin : begin + rng.randint(0, 20)] = piece
    path = tmp_path / "c.yaml"
    path.write_bytes(bytes(text))
    try:
        config.load(path)
    except ConfigurationError as error:
        for line in str(error).split("\n"):
            assert re.match(rf"{path}:\d+:\d+ .", line), line
