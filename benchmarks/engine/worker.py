"""One engine in a process of its own: questions in on standard input, answers out, JSON a line.

Run by an engine's own Python; it and the files of `peers/` import nothing of kogpt-bot, but for
`workloads.py`, which is read from its file.

A `Peer` of `peers/` answers waves (`wave`), or takes requests while it answers others: `add`
takes one under a key, `step` returns the answers that have grown: its key, all of its tokens,
whether that is all. transformers also says how far apart logits are (`gaps`).
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PEERS = Path(__file__).with_name("peers")
WORKLOADS = Path(__file__).parents[2] / "kogpt_bot" / "generation" / "workloads.py"


def read(name: str, path: Path) -> ModuleType:
    """Return a module that is read from its file, whatever package it belongs to."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wave(peer: Any, requests: Sequence[tuple[tuple[int, ...], int]]) -> list[tuple]:
    """Ask all at once; return tokens, and seconds to the first: wall time, CPU time."""
    if hasattr(peer, "wave"):
        return peer.wave(requests)
    begun = time.perf_counter(), time.process_time()
    for number, (prompt, count) in enumerate(requests):
        peer.add(number, prompt, count)
    answers: dict[int, tuple] = {}
    running = len(requests)
    while running:
        grown = peer.step()
        now = time.perf_counter() - begun[0], time.process_time() - begun[1]
        for number, tokens, ended in grown:
            first = answers[number][1:] if number in answers else now
            answers[number] = (tokens, *first)
            running -= ended
    return [answers[number] for number in range(len(requests))]


def serve(
    peer: Any,
    talk: Any,
    coming: Sequence[Any],
    report: Callable[[int], None],
    now: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> list[float]:
    """Give a peer requests when they arrive; return seconds from there to each first token."""
    if hasattr(peer, "serve"):
        return peer.serve(talk, coming, report)
    if hasattr(peer, "wave"):
        peer = _InWaves(peer, now)
    begun, waiting = now(), deque(enumerate(coming))
    firsts: dict[int, float] = {}
    running = done = 0
    while waiting or running:
        while waiting and waiting[0][1].at <= now() - begun:
            number, arrival = waiting.popleft()
            asked = talk.ask(arrival)
            peer.add(number, asked.prompt, asked.tokens)
            running += 1
        if not running:
            sleep(max(0.0, waiting[0][1].at - (now() - begun)))
            continue
        for number, tokens, ended, *at in peer.step():
            firsts.setdefault(number, (at[0] if at else now()) - begun - coming[number].at)
            if ended:
                talk.answered(coming[number].channel, tokens)
                running, done = running - 1, done + 1
                report(done)
    return [firsts[number] for number in range(len(coming))]


class _InWaves:
    """A step of a peer that answers whole waves: all that wait, or as many as it takes at once."""

    def __init__(self, peer: Any, now: Callable[[], float]) -> None:
        self._peer, self._now = peer, now
        self._waiting: list[tuple[int, tuple]] = []

    def add(self, key: int, prompt: tuple[int, ...], count: int) -> None:
        self._waiting.append((key, (prompt, count)))

    def step(self) -> list[tuple[int, list[int], bool, float]]:
        taken = self._waiting[: self._peer.at_once]
        del self._waiting[: len(taken)]
        begun = self._now()
        answers = self._peer.wave([request for _, request in taken])
        return [
            (key, tokens, True, begun + first)
            for (key, _), (tokens, first, _) in zip(taken, answers, strict=True)
        ]


def answer(peer: Any, question: dict, report: Callable[[int], None]) -> dict:
    """Answer one question: a wave, D, or the gaps between logits; say what it took."""
    if "arrivals" in question:
        workloads, plan = read("workloads", WORKLOADS), question["arrivals"]
        talk = workloads.Conversations(plan["vocabulary"], plan["context"])
        coming = workloads.arrivals(
            plan["vocabulary"], plan["requests"], plan["rate"], plan["seed"]
        )
    wall, cpu = time.perf_counter(), time.process_time()
    if "arrivals" in question:
        got = {"firsts": serve(peer, talk, coming, report)}
    elif "gaps" in question:
        got = {"gaps": peer.gaps(question["gaps"])}
    else:
        got = {"answers": wave(peer, [(tuple(prompt), n) for prompt, n in question["wave"]])}
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu} | got


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder")
    parser.add_argument("precision")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")  # what libraries print does not come between
    os.dup2(2, 1)
    precision, _, cache = given.precision.partition("-")
    if cache not in ("", "kv8"):
        parser.error(f"precision {given.precision}: only -kv8 may follow that of the weights")

    def write(said: dict) -> None:
        print(json.dumps(said), file=out, flush=True)

    try:
        peer_type = read(f"peer_{given.name}", PEERS / f"{given.name}.py").Peer
        if cache and "kv8" not in inspect.signature(peer_type).parameters:
            raise ImportError("it keeps keys and values as they are computed")
        kept = {"kv8": True} if cache else {}
        peer = peer_type(given.folder, precision, given.threads, **kept)
    except ImportError as error:
        write({"absent": str(error)})
        return
    write({"ready": peer.version})
    for line in sys.stdin:
        write(answer(peer, json.loads(line), lambda done: write({"done": done})))


if __name__ == "__main__":
    main()
