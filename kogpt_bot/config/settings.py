"""The settings as the program uses them: frozen values, every one with a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval, MinLen
from pydantic import Field

from kogpt_bot.conversation.persona import DEFAULT_PERSONA, Persona
from kogpt_bot.conversation.settings import ChannelSettings, Language

Device = Annotated[
    str,
    Field(
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="auto, cpu, cuda, cuda:0, cuda:1 ...",
    ),
]
Name = Annotated[str, MinLen(1)]


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Where text comes from: a process of our own, or a service at `url`."""

    url: str | None = None
    api_key_env: str | None = None
    api_key_file: Name | None = None
    model: Name = "mini"
    revision: Name | None = None
    device: Device = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    threads: Annotated[int, Interval(ge=1, le=1024)] | None = None
    max_sequences: Annotated[int, Interval(ge=1, le=1024)] | None = None
    quantization: Literal["none", "int8"] = "none"
    kv_cache_dtype: Literal["auto", "int8"] = "auto"
    kv_cache_gib: Annotated[float, Interval(gt=0, le=4096)] | None = None
    host_cache_gib: Annotated[float, Interval(ge=0, le=4096)] | None = None
    tokenizer: Name | None = None


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The database; null is a SQLite file in `data_dir`."""

    url: str | None = None


@dataclass(frozen=True, slots=True)
class ModerationSettings:
    """The log of profanity, and who hears of it. What is done about it is a channel's setting."""

    log_text: Literal["full", "redacted", "hashed"] = "full"
    retention_days: Annotated[int, Interval(ge=1, le=3650)] = 30
    log_file: Name | None = None
    log_file_mb: Annotated[int, Interval(ge=1, le=1024)] = 10
    log_file_backups: Annotated[int, Interval(ge=1, le=100)] = 4
    notify: Name | None = None
    report_to: Name = "opensource+kogpt@kakaobrain.com"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """The operator's page, health and metrics; `token_*` is what who asks must know."""

    enabled: bool = True
    host: Name = "127.0.0.1"
    port: Annotated[int, Interval(ge=0, le=65535)] = 8081
    allowed_hosts: tuple[str, ...] = ()
    token_env: str | None = None
    token_file: Name | None = None


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """How long what people said is kept."""

    history_days: Annotated[int, Interval(ge=1, le=3650)] = 30
    reports_days: Annotated[int, Interval(ge=1, le=3650)] = 30
    audit_days: Annotated[int, Interval(ge=1, le=3650)] = 365


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """What is logged, and in which shape."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    file: Name | None = None
    keep_days: Annotated[int, Interval(ge=1, le=3650)] = 14
    max_mb: Annotated[int, Interval(ge=1, le=100_000)] = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds; what exceeds one is refused in words."""

    message_bytes: Annotated[int, Interval(ge=64, le=65536)] = 8192
    waiting_per_channel: Annotated[int, Interval(ge=1, le=1000)] = 8
    waiting_total: Annotated[int, Interval(ge=1, le=100_000)] = 256
    actions_per_minute: Annotated[int, Interval(ge=1, le=10_000)] = 30
    reply_deadline_s: Annotated[float, Interval(ge=1, le=3600)] = 120.0
    drain_s: Annotated[float, Interval(ge=0, le=20)] = 20.0
    messages_per_minute: Annotated[int, Interval(ge=1, le=1000)] = 20
    burst_window_s: Annotated[float, Interval(ge=0, le=10)] = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. `overrides` is scope -> dotted key -> value, `adapters` name -> its settings,
    `owners` adapter -> platform ids."""

    language: Language = Language.KO
    data_dir: Path = Path()
    defaults: ChannelSettings = field(default_factory=ChannelSettings)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    personas: Mapping[str, Persona] = field(default_factory=lambda: {"default": DEFAULT_PERSONA})
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    adapters: Mapping[str, Any] = field(default_factory=dict)
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    store: StoreSettings = field(default_factory=StoreSettings)
    moderation: ModerationSettings = field(default_factory=ModerationSettings)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    privacy: PrivacySettings = field(default_factory=PrivacySettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    limits: Limits = field(default_factory=Limits)
