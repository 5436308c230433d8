"""One engine in a process of its own: waves of requests in on standard input, answers out.

Run by an engine's own Python; it and the files of `peers/` import nothing of kogpt-bot.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import os
import sys
import time
from pathlib import Path


def load(name: str) -> type:
    """Return the class `Peer` of `peers/NAME.py`."""
    path = Path(__file__).parent / "peers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"peer_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Peer


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
    try:
        peer_type = load(given.name)
        if cache and "kv8" not in inspect.signature(peer_type).parameters:
            raise ImportError("it keeps keys and values as they are computed")
        kept = {"kv8": True} if cache else {}
        peer = peer_type(given.folder, precision, given.threads, **kept)
    except ImportError as error:
        print(json.dumps({"absent": str(error)}), file=out, flush=True)
        return
    print(json.dumps({"ready": peer.version}), file=out, flush=True)
    for line in sys.stdin:
        requests = [(tuple(prompt), count) for prompt, count in json.loads(line)]
        wall, cpu = time.perf_counter(), time.process_time()
        answers = peer.wave(requests)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall": wall, "cpu": cpu, "answers": answers}), file=out, flush=True)


if __name__ == "__main__":
    main()
