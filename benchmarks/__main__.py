"""`python -m benchmarks [loading | engine | report | arrivals] ...`; alone: what needs no peer."""

import sys

from benchmarks import loading_memory


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["loading"]
    if name == "loading":
        return loading_memory.main(rest)
    if name == "engine":
        from benchmarks.engine import run

        return run.main(rest)
    if name == "report":
        from benchmarks.engine import report

        return report.main(rest)
    if name == "arrivals":
        from benchmarks.engine import arrivals

        return arrivals.main(rest)
    print(f"{name}: allowed: loading, engine, report, arrivals", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
