"""Moments as people type them: `7d`, `12h`, `2026-01-31`, `2026-01-31T09:00`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from kogpt_bot.errors import ConfigurationError

_AGO = re.compile(r"([0-9]{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(option: str, text: str, now: datetime) -> datetime:
    """Return the moment that `text` means; one without a zone is of the machine's own."""
    if ago := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError) as error:
        allowed = "30m, 12h, 7d, 4w, or a date such as 2026-01-31"
        raise ConfigurationError(f"{option}: {text!r} is no time; allowed: {allowed}") from error
