"""Settings per channel, and where each effective value comes from.

Levels, each stronger than the one before: defaults < platform < server < channel < thread. At each
level a value may come from the file or from a command; the command wins.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, get_type_hints

from annotated_types import Ge, Interval, Len

from kogpt_bot.messages import ChannelKey


class PromptStyle(enum.StrEnum):
    """How a conversation is put to the model."""

    TRANSCRIPT = "transcript"  # base models, KoGPT among them
    CHAT = "chat"  # instruct models, by the chat template that they bring


class Language(enum.StrEnum):
    """The language of the bot's own words: notices, commands."""

    KO = "ko"
    EN = "en"


class AnswerPolicy(enum.StrEnum):
    """What is done about profanity in an answer; a hit is logged in any case."""

    LOG = "log"  # show it
    MASK = "mask"  # show ○○ in its place
    REGENERATE = "regenerate"  # write another answer, then say one of the persona's fallback lines
    BLOCK = "block"  # show a notice instead of the answer


class IncomingPolicy(enum.StrEnum):
    """What is done about profanity in what people write; a hit is logged in any case."""

    LOG = "log"  # answer it
    IGNORE = "ignore"  # do not answer it, and remember nothing of it
    WARN = "warn"  # answer it, and ask once in a while for other words


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    0 switches top_k, min_p and no_repeat_ngram_size off; 1 switches top_p, typical_p and
    repetition_penalty off; temperature 0 always takes the likeliest token.
    """

    temperature: Annotated[float, Interval(ge=0, le=5)] = 0.5
    top_k: Annotated[int, Interval(ge=0, le=1_000_000)] = 50
    top_p: Annotated[float, Interval(gt=0, le=1)] = 0.9
    min_p: Annotated[float, Interval(ge=0, le=1)] = 0.0
    typical_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    # Off: it falls on what stands in a transcript, the names of those who speak among it.
    repetition_penalty: Annotated[float, Interval(gt=0, le=10)] = 1.0
    no_repeat_ngram_size: Annotated[int, Interval(ge=0, le=100)] = 0
    max_new_tokens: Annotated[int, Interval(ge=1, le=4096)] = 128
    seed: Annotated[int, Interval(ge=0, le=2**63 - 1)] | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """When the bot answers. A message that it does not answer is remembered as context."""

    direct: bool = True  # every message where nobody else can read along
    mention: bool = True
    reply: bool = True  # an answer to one of its own messages
    wake_words: Annotated[tuple[str, ...], Len(0, 20)] = ()  # besides the persona's own name
    every_message: bool = False
    interjection_probability: Annotated[float, Interval(ge=0, le=1)] = 0.0
    answer_bots: bool = False
    max_bot_streak: Annotated[int, Interval(ge=1, le=100)] = 3  # then only a human wakes it


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How the conversation is put to the model."""

    style: PromptStyle = PromptStyle.TRANSCRIPT
    multiline: bool = True  # false: an answer ends at the end of its first line


@dataclass(frozen=True, slots=True)
class Context:
    """How much of the conversation the model sees."""

    max_tokens: Annotated[int, Ge(64)] | None = (
        None  # of the prompt; null: all that the model takes
    )
    max_messages: Annotated[int, Interval(ge=1, le=1000)] = 100


Word = Annotated[str, Len(1, 60)]


@dataclass(frozen=True, slots=True)
class Profanity:
    """What is done about profanity, and what counts as such here."""

    policy: AnswerPolicy = AnswerPolicy.LOG
    attempts: Annotated[int, Interval(ge=1, le=5)] = 2  # to write another answer
    incoming: IncomingPolicy = IncomingPolicy.LOG
    threshold: Annotated[int, Interval(ge=1, le=3)] = 2  # the severity that counts
    allow: Annotated[tuple[Word, ...], Len(0, 200)] = ()  # phrases that are none
    extra: Annotated[tuple[Word, ...], Len(0, 200)] = ()  # words that are some, besides


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Everything that can differ from channel to channel."""

    sampling: Sampling = field(default_factory=Sampling)
    trigger: Trigger = field(default_factory=Trigger)
    prompt: PromptSettings = field(default_factory=PromptSettings)
    context: Context = field(default_factory=Context)
    profanity: Profanity = field(default_factory=Profanity)
    persona: str = "default"
    stream: bool = True  # show the answer while it is written
    buttons: bool = True  # under answers, where the platform has buttons
    language: Language = Language.KO


class Level(enum.IntEnum):
    """How special a scope is."""

    DEFAULTS = 0
    PLATFORM = 1
    SERVER = 2
    CHANNEL = 3
    THREAD = 4


class Origin(enum.StrEnum):
    """Who set a value."""

    BUILT_IN = "built in"
    FILE = "file"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an effective value comes from: `scope` is "" for the defaults, else `discord/...`."""

    origin: Origin = Origin.BUILT_IN
    level: Level = Level.DEFAULTS
    scope: str = ""


Overrides = Mapping[str, Mapping[str, Any]]  # scope -> dotted key -> value


@dataclass(frozen=True, slots=True)
class SettingsLayers:
    """What was set where; values are already validated."""

    file: Overrides = field(default_factory=dict)
    command: Overrides = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """The settings of one channel and the source of each value."""

    settings: ChannelSettings
    sources: Mapping[str, Source]

    def source(self, key: str) -> Source:
        """Return where the value of a dotted key comes from; KeyError for an unknown key."""
        if key not in KEYS:
            raise KeyError(key)
        return self.sources.get(key, Source())


def scopes(key: ChannelKey) -> tuple[tuple[Level, str], ...]:
    """Return the scopes that apply to a channel, the weakest first.

    A scope is a beginning of the key's path: `discord`, `discord/GUILD`, `discord/GUILD/CHANNEL`.
    """
    adapter, guild, channel, thread = str(key).split("/")
    found = [(Level.DEFAULTS, ""), (Level.PLATFORM, adapter)]
    if guild != "-":
        found.append((Level.SERVER, f"{adapter}/{guild}"))
    found.append((Level.CHANNEL, f"{adapter}/{guild}/{channel}"))
    if thread != "-":
        found.append((Level.THREAD, f"{adapter}/{guild}/{channel}/{thread}"))
    return tuple(found)


def resolve(key: ChannelKey, layers: SettingsLayers) -> EffectiveSettings:
    """Return what applies in a channel."""
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for level, scope in scopes(key):
        for origin, overrides in ((Origin.FILE, layers.file), (Origin.COMMAND, layers.command)):
            for name, value in overrides.get(scope, {}).items():
                values[name] = value
                sources[name] = Source(origin, level, scope)
    return EffectiveSettings(with_values(ChannelSettings(), values), sources)


def with_values(settings: ChannelSettings, values: Mapping[str, Any]) -> ChannelSettings:
    """Return `settings` with the values of dotted keys; KeyError for an unknown key."""
    for name, value in values.items():
        if name not in KEYS:
            raise KeyError(name)
        group, _, rest = name.rpartition(".")
        if group:
            part = replace(getattr(settings, group), **{rest: value})
            settings = replace(settings, **{group: part})
        else:
            settings = replace(settings, **{name: value})
    return settings


def flatten(settings: ChannelSettings) -> dict[str, Any]:
    """Return dotted key -> value."""
    return {key: _get(settings, key) for key in KEYS}


def _get(settings: ChannelSettings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _keys(cls: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(cls, include_extras=True)
    for each in fields(cls):
        hint = hints[each.name]
        if is_dataclass(hint):
            yield from _keys(hint, f"{prefix}{each.name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{each.name}", hint


KEYS: Mapping[str, Any] = dict(_keys(ChannelSettings))  # dotted key -> its annotated type
