"""What a chat-bot asks of an engine, as waves of requests: a wave is asked at once.

A: one stream. B: sixteen mixed requests. C: eight channels, ten turns, growing history. S: sixteen
requests that share a persona. Token ids are random and fixed; an answer is of a fixed length, so
that every engine does the same work.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass

FIRST_TOKEN = 10  # below are special tokens


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: its prompt, how many tokens are wanted, and whose it is."""

    prompt: tuple[int, ...]
    tokens: int
    channel: str = ""


Wave = list[Ask]
Answers = list[list[int]]
Waves = Generator[Wave, Answers, None]


class _Words:
    def __init__(self, vocabulary: int, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # the same for every engine
        self._vocabulary = vocabulary

    def some(self, count: int) -> tuple[int, ...]:
        return tuple(self._random.randrange(FIRST_TOKEN, self._vocabulary) for _ in range(count))

    def between(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


def one_stream(vocabulary: int, seed: int = 1) -> Waves:
    """A: 256 tokens in, 128 out."""
    yield [Ask(_Words(vocabulary, seed).some(256), 128)]


def mixed(vocabulary: int, seed: int = 2) -> Waves:
    """B: sixteen at once, 32 to 512 tokens in, 32 to 128 out."""
    words = _Words(vocabulary, seed)
    yield [
        Ask(words.some(words.between(32, 512)), words.between(32, 128), str(number))
        for number in range(16)
    ]


def channels(vocabulary: int, seed: int = 3) -> Waves:
    """C: eight channels with a persona, ten turns of 100 tokens in and 40 out, to 1,464 in all."""
    words = _Words(vocabulary, seed)
    persona = words.some(64)
    histories = [persona for _ in range(8)]
    for _ in range(10):
        histories = [history + words.some(100) for history in histories]
        answers = yield [Ask(each, 40, str(n)) for n, each in enumerate(histories)]
        histories = [
            history + tuple(answer) for history, answer in zip(histories, answers, strict=True)
        ]


def shared(vocabulary: int, seed: int = 4) -> Waves:
    """S: sixteen that share 256 tokens, 48 own, 32 out; then again, the cache being warm."""
    words = _Words(vocabulary, seed)
    persona = words.some(256)
    for _ in range(2):
        yield [Ask(persona + words.some(48), 32, str(n)) for n in range(16)]


WORKLOADS: dict[str, Callable[[int], Waves]] = {
    "A": one_stream,
    "B": mixed,
    "C": channels,
    "S": shared,
}
