"""Whether engines that compute in float32 answer as transformers does: the gate of every speed.

Where an answer first differs, transformers' own logits say how far apart the two tokens are. Level
to within rounding, either is right, and what follows in that answer has nothing to be compared
with; nor has a request whose history holds another answer (in C).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.engine.measure import Run

BASE = "transformers:float32"
TIE = 1e-4  # of logits; two ways of adding up in float32 are 1e-6 to 1e-5 apart
ENDED = float("inf")  # the gap where one answer has no token at all


@dataclass(frozen=True, slots=True)
class Difference:
    """The first token of an answer that is not the wanted one. A missing token is None."""

    engine: str
    workload: str
    round: int
    answer: int
    place: int
    wanted: int | None
    found: int | None
    prefix: tuple[int, ...]  # the prompt and what both answers have in common

    @property
    def question(self) -> tuple[tuple[int, ...], int, int] | None:
        """What transformers is asked; None: a token is missing, there is nothing to ask."""
        if self.wanted is None or self.found is None:
            return None
        return self.prefix, self.wanted, self.found


@dataclass(slots=True)
class Parity:
    """What became of an engine's answers; of one in fewer bits only `equal` is looked at."""

    equal: int = 0
    of: int = 0
    ties: int = 0
    after: int = 0  # answers to another prompt: one before it differed
    wrong: int = 0


def exact(engine: str) -> bool:
    """Whether all of an engine's numbers are float32."""
    return engine.partition(":")[2] == "float32"


def compare(runs: Iterable[Run]) -> tuple[dict[str, Parity], list[Difference]]:
    """Count what is equal; return the differences of engines that should have none."""
    runs = list(runs)
    wanted = {(run.workload, run.round): run for run in runs if run.engine == BASE}
    counts: dict[str, Parity] = {}
    differences = []
    for run in runs:
        base = wanted.get((run.workload, run.round))
        if base is None or run is base:
            continue
        count = counts.setdefault(run.engine, Parity())
        count.of += len(base.answers)
        same = [a == b for a, b in zip(run.prompts, base.prompts, strict=True)]
        pairs = zip(same, run.answers, base.answers, strict=True)
        count.equal += sum(comparable and a == b for comparable, a, b in pairs)
        if exact(run.engine):
            count.after += same.count(False)
            differences += _differences(run, base)
    return counts, differences


def _differences(run: Run, base: Run) -> Iterator[Difference]:
    rows = zip(run.prompts, base.prompts, run.answers, base.answers, strict=True)
    for number, (prompt, same, found, wanted) in enumerate(rows):
        if prompt != same or found == wanted:
            continue
        longest = max(len(found), len(wanted))
        for place in range(longest):
            a, b = (each[place] if place < len(each) else None for each in (wanted, found))
            if a != b:
                prefix = (*prompt, *wanted[:place])
                yield Difference(run.engine, run.workload, run.round, number, place, a, b, prefix)
                break


def judge(
    counts: dict[str, Parity], differences: Iterable[Difference], gaps: Iterable[float]
) -> list[str]:
    """Count ties and wrong answers by the gaps between logits; return a line a difference."""
    lines = []
    for each, gap in zip(differences, gaps, strict=True):
        tie = gap < TIE
        count = counts[each.engine]
        count.ties, count.wrong = count.ties + tie, count.wrong + (not tie)
        apart = "an answer ended" if gap == ENDED else f"logits {gap:.2g} apart"
        lines.append(
            f"{each.engine}: {each.workload}, round {each.round + 1}, answer {each.answer + 1}, "
            f"token {each.place + 1}: {each.found} where transformers has {each.wanted}, {apart}: "
            f"{'a tie' if tie else 'wrong'}"
        )
    return lines
