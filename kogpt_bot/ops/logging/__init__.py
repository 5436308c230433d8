"""Structured logs: redacted, throttled, for people on a terminal and as JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import structlog

from kogpt_bot.ops.logging.file import LogFile
from kogpt_bot.ops.logging.pipeline import Pipeline, Shown
from kogpt_bot.ops.logging.redact import Redactor
from kogpt_bot.secret import Secret

if TYPE_CHECKING:
    from kogpt_bot.config import Settings

__all__ = ["Pipeline", "configure", "configure_from", "set_level"]

OURS = (
    "kogpt_bot",
    "kogpt_bot_discord",
    "kogpt_bot_telegram",
    "kogpt_bot_terminal",
    "kogpt_bot_web",
)
LogFormat = Literal["auto", "console", "json"]


def configure(
    level: str,
    format_: LogFormat = "auto",
    output: TextIO | None = None,
    *,
    hidden: Iterable[Secret] = (),
    file: LogFile | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Pipeline:
    """Send every log of the process to `output` (standard error by default), and to a file.

    `auto` is for people on a terminal and JSON elsewhere. Libraries that use the standard
    `logging` come out in the same shape; theirs are shown from WARNING on. The pipeline that is
    returned takes the place of an earlier one.
    """
    stream = output or sys.stderr
    people = format_ == "console" or (format_ == "auto" and stream.isatty())
    redactor = Redactor(hidden)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shown = Shown(stream)
    lines = structlog.processors.JSONRenderer(ensure_ascii=False)
    # Never structlog's own way of showing exceptions: it shows the local variables.
    console = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    as_json = _formatter(shared, redactor, lines)
    shown.setFormatter(_formatter(shared, redactor, console) if people else as_json)
    if file is not None:
        file.setFormatter(as_json)
    handlers: list[logging.Handler] = [shown, *([file] if file is not None else [])]
    pipeline = Pipeline(handlers, as_json, redactor, monotonic)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, Pipeline):
            old.close()
    root.addHandler(pipeline)
    root.setLevel(logging.WARNING)
    set_level(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    return pipeline


def configure_from(settings: Settings) -> Pipeline:
    """Log as the settings say, with every secret that they name hidden."""
    from kogpt_bot.config.secrets import secrets  # here: the generation process needs no YAML

    chosen = settings.logging
    file = None
    if chosen.file is not None:  # a relative path lies in data_dir
        path = settings.data_dir / Path(chosen.file).expanduser()
        file = LogFile(path, max_bytes=chosen.max_mb << 20, keep_days=chosen.keep_days)
    return configure(chosen.level, chosen.format, hidden=secrets(settings), file=file)


def set_level(level: str) -> None:
    """Show what is ours from `level` on; libraries are shown from WARNING on."""
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())


def _formatter(
    shared: list[structlog.typing.Processor],
    redactor: Redactor,
    renderer: structlog.typing.Processor,
) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redactor,
            renderer,
        ],
    )
