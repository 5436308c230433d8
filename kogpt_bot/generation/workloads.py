"""What a chat-bot asks of an engine, as waves of requests: a wave is asked at once.

A: one stream. B: sixteen mixed requests. C: eight channels, ten turns, growing history. S: sixteen
requests that share a persona. D has no waves: requests of many channels arrive when they arrive.
Token ids are random and fixed; an answer is of a fixed length, so that every engine does the same
work. (This module imports nothing but the standard library: the processes of peers read it.)
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

FIRST_TOKEN = 10  # below are special tokens

# D
CHANNELS = 200
ZIPF = 1.1  # the second channel says 1 / 2^1.1 of what the first says, and so on
BURST = 25  # requests; then nobody says anything for a while
AWAKE = 67  # channels that speak in a burst, drawn anew for each: the blocks of the others age
SILENCE = 10  # mean intervals between two requests
PERSONA = 64  # tokens that all channels share
KEPT = 1200  # tokens of history at most; the older half is dropped then, as the daemon does
LOAD = 0.5  # of what sixteen at once get: requests queue at times, and the queue ends


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


def within(waves: Waves, context: int) -> Waves:
    """The waves before the first with a request that is longer than the context."""
    asked = next(waves)
    while all(len(each.prompt) + each.tokens <= context for each in asked):
        try:
            asked = waves.send((yield asked))
        except StopIteration:
            return


WORKLOADS: dict[str, Callable[[int], Waves]] = {
    "A": one_stream,
    "B": mixed,
    "C": channels,
    "S": shared,
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one channel says, `at` seconds after the beginning."""

    at: float
    channel: int
    words: tuple[int, ...]


def arrivals(vocabulary: int, requests: int, rate: float, seed: int = 5) -> list[Arrival]:
    """D: Poisson arrivals at `rate` a second in bursts, channels by Zipf's law, 10 to 60 tokens."""
    words = _Words(vocabulary, seed)
    chance = random.Random(seed)  # noqa: S311  # the same for every engine
    found, at = [], 0.0
    awake: list[int] = []
    for number in range(requests):
        if number % BURST == 0:
            awake = sorted(chance.sample(range(CHANNELS), AWAKE))
            at += SILENCE / rate if number else 0.0
        at += chance.expovariate(rate)
        [channel] = chance.choices(awake, [(1 + rank) ** -ZIPF for rank in awake])
        found.append(Arrival(at, channel, words.some(words.between(10, 60))))
    return found


class Conversations:
    """D's histories, which hold the answers: what is asked when a channel speaks."""

    def __init__(self, vocabulary: int, context: int, tokens: int = 32) -> None:
        self._tokens = tokens
        self._kept = min(KEPT, context // 2)
        persona = _Words(vocabulary, 11).some(min(PERSONA, self._kept // 2))
        self._persona_tokens = len(persona)
        self._histories = [persona for _ in range(CHANNELS)]

    def ask(self, arrival: Arrival) -> Ask:
        """Return the request of a channel that says something."""
        history = self._histories[arrival.channel] + arrival.words
        if len(history) > self._kept:
            history = history[: self._persona_tokens] + history[-(self._kept // 2) :]
        self._histories[arrival.channel] = history
        return Ask(history, self._tokens, str(arrival.channel))

    def answered(self, channel: int, tokens: Sequence[int]) -> None:
        """Add an answer to its channel's history."""
        self._histories[channel] += tuple(tokens)


def at_once(vocabulary: int, context: int, seed: int = 6) -> Wave:
    """Sixteen of D's requests that wait for nothing: how many of them an engine can answer."""
    talk = Conversations(vocabulary, context)
    return [talk.ask(each) for each in arrivals(vocabulary, 16, 1.0, seed)]


def regime(requests: int, rate: float) -> str:
    """Say in words how D's requests arrive."""
    return (
        f"{requests} requests of {CHANNELS} channels by Zipf's law ({ZIPF:g}), Poisson arrivals at "
        f"{rate:.3g} a second in bursts of {BURST} with {AWAKE} channels awake and "
        f"{SILENCE / rate:.3g} s of silence between"
    )


def median_and_late(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile of two values or more."""
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return cuts[9], cuts[18]
