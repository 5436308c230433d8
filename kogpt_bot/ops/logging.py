"""Structured logs: for people on a terminal, as JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog

OURS = ("kogpt_bot", *(f"kogpt_bot_{each}" for each in ("web", "terminal", "discord", "telegram")))
OURS = (
    "kogpt_bot",
    "kogpt_bot_discord",
    "kogpt_bot_telegram",
    "kogpt_bot_terminal",
    "kogpt_bot_web",
)
LogFormat = Literal["auto", "console", "json"]


def configure(level: str, format_: LogFormat = "auto", output: TextIO | None = None) -> None:
    """Send every log of the process to `output` (standard error by default).

    `auto` is for people on a terminal and JSON elsewhere. Libraries that use the standard
    `logging` come out in the same shape; theirs are shown from WARNING on.
    """
    stream = output or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    people = format_ == "console" or (format_ == "auto" and stream.isatty())
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if people
        else [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def set_level(level: str) -> None:
    """Show what is ours from `level` on; libraries are shown from WARNING on."""
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
