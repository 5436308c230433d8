"""Settings in words: what applies, what may be set, where it comes from."""

from __future__ import annotations

import enum
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from kogpt_bot.config.describe import bound, constraints_of, describe
from kogpt_bot.conversation.settings import KEYS, Language, Level, Origin, Source

_ON = {Language.KO: ("켜기", "끄기"), Language.EN: ("on", "off")}
_NOTHING = {Language.KO: "없음", Language.EN: "none"}
_WHERE = {
    Language.KO: {
        Level.DEFAULTS: "모든 곳", Level.PLATFORM: "이 플랫폼", Level.SERVER: "이 서버",
        Level.CHANNEL: "이 채널", Level.THREAD: "이 스레드",
    },
    Language.EN: {
        Level.DEFAULTS: "everywhere", Level.PLATFORM: "this platform",
        Level.SERVER: "this server", Level.CHANNEL: "this channel", Level.THREAD: "this thread",
    },
}  # fmt: skip
_ORIGIN = {
    Language.KO: {
        Origin.BUILT_IN: "기본값", Origin.FILE: "설정 파일", Origin.COMMAND: "명령으로 바꿈",
    },
    Language.EN: {
        Origin.BUILT_IN: "built in", Origin.FILE: "the file", Origin.COMMAND: "set by a command",
    },
}  # fmt: skip
_KOREAN = {bool: "켜기 또는 끄기", int: "정수", float: "숫자", str: "글", type(None): "없음"}


def shown(value: Any, language: Language) -> str:
    """Return a value as it may be typed again: `parse_value` takes it."""
    if isinstance(value, bool):
        return _ON[language][0 if value else 1]
    if value is None or value == ():
        return _NOTHING[language]
    if isinstance(value, enum.Enum):
        return str(value.value)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def choices(key: str, language: Language) -> tuple[str, ...]:
    """Return all that a setting may be, where these are few; else nothing."""
    hint = KEYS[key]
    if hint is bool:
        return _ON[language]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(str(each.value) for each in hint)
    return ()


def where(level: Level, language: Language) -> str:
    """Return a level in words."""
    return _WHERE[language][level]


def source(found: Source, language: Language) -> str:
    """Return where a value comes from, in words."""
    origin = _ORIGIN[language][found.origin]
    return (
        origin if found.origin is Origin.BUILT_IN else f"{origin} ({where(found.level, language)})"
    )


def allowed(key: str, language: Language) -> str:
    """Return what a setting may be, in words."""
    return _korean(KEYS[key]) if language is Language.KO else describe(KEYS[key])


def _korean(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    text = _KOREAN.get(hint, "값")
    if origin is Annotated:
        text = _constrained(arguments[0], constraints_of(hint))
    elif origin in (Union, types.UnionType):
        text = " 또는 ".join(_korean(each) for each in arguments)
    elif origin is Literal:
        text = ", ".join(str(each) for each in arguments)
    elif origin is tuple:
        text = f"쉼표로 나눈 {_korean(arguments[0])}"
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        text = ", ".join(str(each.value) for each in hint)
    return text


def _constrained(hint: Any, constraints: list[Any]) -> str:
    words = _korean(hint)
    longest = bound(constraints, MaxLen, "max_length")
    if longest is not None:
        shortest = bound(constraints, MinLen, "min_length") or 0
        unit = "개" if get_origin(hint) is tuple else "자"
        size = f"{shortest}~{longest}{unit}" if shortest else f"{longest}{unit}까지"
        return f"{words} ({size})"
    low, above = bound(constraints, Ge, "ge"), bound(constraints, Gt, "gt")
    high, below = bound(constraints, Le, "le"), bound(constraints, Lt, "lt")
    if low is not None and high is not None:
        return f"{low}부터 {high}까지의 {words}"
    limits = {"보다 크고": above, " 이상이고": low, "보다 작은": below, " 이하인": high}
    said = [f"{value}{ending}" for ending, value in limits.items() if value is not None]
    if len(said) == 1:
        said = [said[0].replace("크고", "큰").replace("이상이고", "이상인")]
    return " ".join([*said, words])
