"""What Discord has said about when it may be called again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from discord.http import Route

MAX_KNOWN = 2000  # routes and buckets; those whose time has come are dropped first
UNKNOWN_WAIT_S = 60.0  # a refusal without a time: most likely of a proxy before Discord
NOT_GLOBAL = ("/interactions", "/webhooks")  # the global limit does not count these


class RateLimits:
    """The buckets of each route, and until when each is empty.

    https://discord.com/developers/docs/topics/rate-limits: routes share buckets, a bucket counts
    apart for each channel, server and webhook (`Route.major_parameters`), and one limit counts
    all.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: dict[str, str] = {}  # route -> bucket
        self._empty_until: dict[str, float] = {}
        self._all_until = 0.0

    def wait(self, route: Route) -> float:
        """Return how many seconds a call must wait; 0 where it may go."""
        until = self._empty_until.get(self._key(route), 0.0)
        if not route.path.startswith(NOT_GLOBAL):
            until = max(until, self._all_until)
        return max(0.0, until - self._monotonic())

    def heard(self, route: Route, headers: Mapping[str, str], status: int, body: Any) -> float:
        """Take in an answer; returns how long it asks to wait (0 where it was no refusal)."""
        if bucket := headers.get("X-RateLimit-Bucket"):
            self._trim()
            self._buckets[route.key] = bucket
        if status != 429:
            if headers.get("X-RateLimit-Remaining") == "0":
                self._close(route, _seconds(headers.get("X-RateLimit-Reset-After")) or 0.0)
            return 0.0
        told = body.get("retry_after") if isinstance(body, dict) else None
        seconds = _seconds(told) or _seconds(headers.get("Retry-After")) or UNKNOWN_WAIT_S
        everywhere = isinstance(body, dict) and body.get("global") is True
        if everywhere or not isinstance(body, dict):
            self._all_until = max(self._all_until, self._monotonic() + seconds)
        else:
            self._close(route, seconds)
        return seconds

    def _close(self, route: Route, seconds: float) -> None:
        key = self._key(route)
        self._empty_until[key] = max(self._empty_until.get(key, 0.0), self._monotonic() + seconds)

    def _key(self, route: Route) -> str:
        return f"{self._buckets.get(route.key, route.key)}:{route.major_parameters}"

    def _trim(self) -> None:
        if len(self._empty_until) >= MAX_KNOWN:
            now = self._monotonic()
            self._empty_until = {k: t for k, t in self._empty_until.items() if t > now}
        if len(self._buckets) >= MAX_KNOWN:
            self._buckets.clear()  # they are learned again from the next answers


def _seconds(value: object) -> float | None:
    """Return a number of seconds as a header or a body gives it; None where it is none."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < 1e9 else None
