"""Asking a daemon that runs, over its socket: `kogpt-bot status` and `kogpt-bot tail`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from kogpt_bot.console.listen import SOCKET
from kogpt_bot.errors import NotRunning

ANSWER_S = 10.0
SIGNS = {True: "✓", False: "✗"}


def status(folder: Path) -> dict[str, Any]:
    """Return the state of the daemon of a data folder; NotRunning where there is none."""
    with _connected(folder) as client:
        try:
            found: dict[str, Any] = client.get("/status").raise_for_status().json()
        except httpx.HTTPError as error:
            raise NotRunning(f"the kogpt-bot of {folder} does not answer: {error}") from error
        return found


def tail(folder: Path, past: int) -> Iterator[str]:
    """Give the log's lines: the last `past`, then what comes, until the daemon ends."""
    # No line may come for hours; that the daemon is still there is the socket's to tell.
    timeout = httpx.Timeout(ANSWER_S, read=None)
    with (
        _connected(folder) as client,
        suppress(httpx.TransportError),
        client.stream("GET", f"/log?past={past}", timeout=timeout) as answer,
    ):
        yield from answer.iter_lines()


def _connected(folder: Path) -> httpx.Client:
    path = os.path.realpath(folder / SOCKET)  # it may be a link: see listen.py
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except PermissionError as error:
            remedy = "ask as the user that it runs as, or as root"
            raise NotRunning(f"{folder} belongs to another user; {remedy}") from error
        except OSError as error:
            remedy = "start it: kogpt-bot run"
            raise NotRunning(f"no kogpt-bot runs with data_dir {folder}; {remedy}") from error
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=path), base_url="http://daemon", timeout=ANSWER_S
    )


def as_text(found: dict[str, Any]) -> str:
    """Return a status for people."""
    lines = [
        f"kogpt-bot {found['version']}, process {found['pid']}, up {_time(found['uptime_s'])}, "
        f"model {found['model']}"
    ]
    for name, part in found["parts"].items():
        detail = f": {part['detail']}" if part["detail"] else ""
        lines.append(f"{SIGNS[part['ready']]} {name} {part['state']}{detail}")
        if part["remedy"]:
            lines.append(f"  → {part['remedy']}")
    lines.append(f"{found['answering']} answers are being written, {found['waiting']} wait")
    if (last := found["reload"]) is not None:
        lines.append(f"configuration {last['result']} at {last['at']}")
        lines += [f"  {fault}" for fault in last["faults"]]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds) % 60} s"


def line_as_text(line: str) -> str:
    """Return a line of the log for people: time, level, event, and the rest as key=value."""
    try:
        event: dict[str, Any] = json.loads(line)
        moment, level, name = event.pop("timestamp"), event.pop("level"), event.pop("event")
    except (ValueError, KeyError, AttributeError):
        return line
    event.pop("logger", None)
    trace = event.pop("exception", "")
    rest = " ".join(f"{key}={value}" for key, value in event.items())
    return f"{moment[:19]} {level:<8} {name} {rest}".rstrip() + (f"\n{trace}" if trace else "")
