"""One finding of the doctor: what was found, whether it matters, and what to do about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

GIB = 1 << 30


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


SEVERITY = (Verdict.OK, Verdict.WARNING, Verdict.FAILED)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding, with what to do about it, and the checks below it."""

    name: str
    verdict: Verdict
    finding: str = ""
    remedy: str = ""
    below: tuple[Check, ...] = ()

    @property
    def worst(self) -> Verdict:
        """The worst verdict of it and of what is below it."""
        verdicts = [self.verdict, *(each.worst for each in self.below)]
        return max(verdicts, key=SEVERITY.index)

    @property
    def failed(self) -> bool:
        """Whether it or anything below it failed."""
        return self.worst is Verdict.FAILED


def ok(name: str, finding: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, Verdict.OK, finding)


def warning(name: str, finding: str, remedy: str) -> Check:
    """Return a check that found something to look at."""
    return Check(name, Verdict.WARNING, finding, remedy)


def failure(name: str, finding: str, remedy: str) -> Check:
    """Return a check that found what must be mended."""
    return Check(name, Verdict.FAILED, finding, remedy)


def as_json(check: Check) -> dict[str, Any]:
    """Return the tree as JSON."""
    below = {"below": [as_json(each) for each in check.below]} if check.below else {}
    return {
        "name": check.name,
        "verdict": check.verdict.value,
        "finding": check.finding,
        "remedy": check.remedy,
        **below,
    }
