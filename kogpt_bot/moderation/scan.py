"""`kogpt-bot profanity scan`: one text a line in, one JSON object a line out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TextIO

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.moderation.detector import PROFANE, Detector, Match


def scan(
    lines: Iterable[str], out: TextIO, *, json_input: bool = False, detector: Detector | None = None
) -> None:
    """Write `{"profane", "severity", "matches"}` for each line, in the same order.

    With `json_input` a line is a JSON object with `text`; raises ConfigurationError naming the
    line that is not.
    """
    detector = detector or Detector.default()
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        found = detector.find(_text(text, number) if json_input else text)
        out.write(json.dumps(_report(found), ensure_ascii=False) + "\n")


def explain(text: str, detector: Detector | None = None) -> list[str]:
    """Say why `text` is profane, or that it is not; one line a match."""
    return (detector or Detector.default()).explain(text)


def _text(line: str, number: int) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"line {number}: not JSON: {error}") from error
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise ConfigurationError(f"line {number}: expected an object with a string `text`")
    return text


def _report(found: tuple[Match, ...]) -> dict[str, object]:
    severity = max((match.severity for match in found), default=0)
    return {
        "profane": severity >= PROFANE,
        "severity": severity,
        "matches": [
            {
                "start": match.start,
                "end": match.end,
                "text": match.text,
                "canonical": match.canonical,
                "category": match.category.value,
                "severity": match.severity,
                "rule": match.rule,
            }
            for match in found
        ],
    }
