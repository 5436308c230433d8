"""`python -m benchmarks [NAME] ...`; alone: loading, which needs neither a peer nor data."""

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
    if name == "evaluation":
        from benchmarks import evaluation

        return evaluation.main(rest)
    if name == "gpu":
        from benchmarks import gpu

        return gpu.main(rest)
    allowed = "loading, engine, report, arrivals, evaluation, gpu"
    print(f"{name}: allowed: {allowed}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
