"""Graphs of decoding steps: when they are recorded, tried and given up (a CPU has none itself)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.generation import cuda_graphs
from kogpt_bot.generation.cuda_graphs import SIZES, DecodeGraphs
from kogpt_bot.generation.kv_blocks import BLOCK
from tests.fakes.steps import eager

CPU = torch.device("cpu")


class Blind:
    """Attention that nobody may ask."""

    rows = 0

    def look(self, *_):
        raise AssertionError("what decodes here looks at nothing")

    read = look


KERNEL = Blind()
SPARE = 3


def counting(given, _plan):
    return given[0].unsqueeze(1) + torch.arange(5.0)


def graphs_of(decode, capture, erase=lambda _slots: None):
    def in_parts(given, plan):
        yield
        return decode(given, plan)

    return DecodeGraphs(in_parts, KERNEL, CPU, 64, 5, spare=SPARE, erase=erase, capture=capture)


class Row:
    """What a graph looks at of a segment."""

    def __init__(self, length=1, want=1, end=2, table=(0,)):
        self.length, self.want, self.end, self.table = length, want, end, table


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
                for _ in work():
                    pass

        return replay

    graphs = graphs_of(decode, capture, erase=lambda _slots: kept.clear())
    assert graphs.run(flat(1), [Row()]) is None


numbers = st.integers(0, 63)
rows_of_a_step = st.lists(
    # token, position, slot; end; its blocks
    st.tuples(st.tuples(numbers, numbers, numbers), st.integers(1, 64),
              st.lists(st.integers(4, 60), min_size=4, max_size=4)),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(rows_of_a_step, min_size=1, max_size=6), st.booleans())
def test_a_graph_is_told_what_each_step_is_about(steps, keep_tables):
    """However many rows the steps before had, and whatever their blocks were."""
    told = {}

    def decode(given_rows, plan):
        (part,) = plan
        assert part.kernel is KERNEL
        size = part.end
        told.update(rows=torch.stack(given_rows), ends=part.ends, tables=part.tables)
        assert len(part.tables) == len(part.ends) == size
        return counting(given_rows, plan)

    graphs = graphs_of(decode, eager)
    for step in steps:
        flat_rows = tuple(torch.tensor([row[0][n] for row in step]) for n in range(3))
        # Some steps in a row have the same blocks, as those of a running sequence do.
        tables = [steps[0][0][2] if keep_tables else row[2] for row in step]
        segments = [Row(end=row[1], table=each) for row, each in zip(step, tables, strict=True)]
        logits = graphs.run(flat_rows, segments)
        assert torch.equal(logits, counting(flat_rows, None))
        count = len(step)
        assert told["rows"][:, :count].tolist() == [each.tolist() for each in flat_rows]
        assert told["ends"][:count].tolist() == [row[1] for row in step]
        assert told["tables"][:count].tolist() == tables
        # What fills a graph up writes to a block of nobody, and looks at that alone.
        assert set(told["rows"][2, count:].tolist()) <= {SPARE * BLOCK}
        assert set(told["ends"][count:].tolist()) <= {1}
        assert set(told["tables"][count:, 0].tolist()) <= {SPARE}


def test_tables_are_told_again_only_where_they_change(monkeypatch):
    copied = []
    padded = cuda_graphs.pad_sequence

    def counted(tables, **how):
        copied.append([each.tolist() for each in tables])
        return padded(tables, **how)

    monkeypatch.setattr(cuda_graphs, "pad_sequence", counted)
    graphs = graphs_of(counting, eager)
    one, two, three, four = [7, 8], [9], [10], [11]
    for tables in (
        [one, two], [one, two], [one], [two], [one, two],
        [one, two, three, four], [one, two, three], [one, two, three], [one, two, three, four],
    ):  # fmt: skip
        graphs.run(flat(len(tables)), [Row(table=each) for each in tables])
    four_rows = [one, two, three, four]
    assert copied == [
        [one, two], [two], [one, two], four_rows, [one, two, three, [SPARE]], four_rows
    ]  # fmt: skip


def test_tables_that_did_not_arrive_are_told_again(monkeypatch):
    graphs = graphs_of(counting, eager)
    graphs.run(flat(1), [Row(table=[7])])
    with monkeypatch.context() as patch:

        def short(*_given, **_how):
            raise torch.OutOfMemoryError("no memory")

        patch.setattr(cuda_graphs, "pad_sequence", short)
        with pytest.raises(torch.OutOfMemoryError):
            graphs.run(flat(1), [Row(table=[9])])
    graphs.run(flat(1), [Row(table=[9])])
    assert graphs._tables[0, 0] == 9
