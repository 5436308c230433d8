"""Graphs of decoding steps: when they are recorded, tried and given up (a CPU has none itself)."""

import torch

from kogpt_bot.generation.cuda_graphs import SIZES, DecodeGraphs
from tests.fakes.steps import eager

CPU = torch.device("cpu")


def look(*_):
    raise AssertionError("what decodes here looks at nothing")


def counting(given, _plan):
    return given[0].unsqueeze(1) + torch.arange(5.0)


def graphs_of(decode, capture):
    return DecodeGraphs(
        decode, look, CPU, 64, 5, spare=3, erase=lambda _slots: None, capture=capture
    )


class Row:
    """What a graph looks at of a segment."""

    def __init__(self, length=1, want=1, end=2):
        self.length, self.want, self.end, self.table = length, want, end, [0]


def flat(rows):
    return tuple(torch.ones(rows, dtype=torch.long) for _ in range(3))


def test_a_graph_is_for_steps_that_write_only_and_is_recorded_once_a_size():
    recorded = []

    def capture(work):
        recorded.append(len(recorded))
        return eager(work)

    graphs = graphs_of(counting, capture)
    assert graphs.run(flat(1), [Row()]).tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0]]
    assert graphs.run(flat(3), [Row()] * 3).shape == (3, 5)
    assert graphs.run(flat(4), [Row()] * 4).shape == (4, 5)
    assert len(recorded) == 2
    for other in ([Row(), Row(length=2)], [Row(want=0)], [Row()] * (SIZES[-1] + 1)):
        assert graphs.run(flat(len(other)), other) is None


def test_graphs_that_cannot_be_recorded_or_are_wrong_are_given_up():
    def failing(_work):
        raise RuntimeError("operation not permitted when stream is capturing\nhint")

    def short(_work):
        raise torch.OutOfMemoryError("out of memory")

    def stale(_work):
        return lambda: None

    for capture in (failing, short, stale):
        graphs = graphs_of(lambda given, _plan: torch.ones(len(given[0]), 5), capture)
        assert graphs.run(flat(1), [Row()]) is None
        assert not graphs._usable

    class OutOfResources(Exception):
        """As Triton's errors are: no RuntimeError."""

    def unlike(_given, _plan):
        raise OutOfResources("shared memory")

    graphs = graphs_of(unlike, eager)
    assert graphs.run(flat(1), [Row()]) is None
    assert not graphs._usable


def test_a_row_that_is_not_finite_shows_nothing_of_a_graph():
    rows = []

    def decode(given, _plan):
        logits = counting(given, _plan)
        logits[[row for row in rows if row < len(logits)]] = float("nan")
        return logits

    rows[:] = [0]
    alone = graphs_of(decode, eager)
    assert alone.run(flat(1), [Row()]).isnan().all()
    assert not alone._graphs  # recorded when there is something to compare
    both = graphs_of(decode, eager)
    assert both.run(flat(2), [Row()] * 2)[1].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert list(both._graphs) == [2]
    wrong = graphs_of(decode, lambda work: lambda: None)
    assert wrong.run(flat(2), [Row()] * 2) is None


def test_what_a_graph_did_not_write_itself_is_not_there_when_it_is_tried():
    kept = {}

    def decode(given, _plan):
        kept["written"] = True
        return counting(given, _plan)

    def capture(work):
        def replay():  # writes no keys and values, and gives what it finds
            if kept.get("written"):
                work()

        return replay

    graphs = DecodeGraphs(
        decode, look, CPU, 64, 5, spare=3, erase=lambda _slots: kept.clear(), capture=capture
    )
    assert graphs.run(flat(1), [Row()]) is None
