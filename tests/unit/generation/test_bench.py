"""The workloads are the same for everyone, and the bench runs them on a model as it is."""

import pytest

from kogpt_bot.generation import bench
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.workloads import WORKLOADS, Ask


def all_waves(name):
    waves = WORKLOADS[name](1000)
    found = [next(waves)]
    while True:
        try:
            found.append(waves.send([[5] * each.tokens for each in found[-1]]))
        except StopIteration:
            return found


@pytest.mark.parametrize(
    ("name", "waves", "requests", "longest"),
    [("A", 1, 1, 384), ("C", 10, 8, 1464), ("S", 2, 16, 336)],
)
def test_the_work_is_what_is_said(name, waves, requests, longest):
    found = all_waves(name)
    assert [len(each) for each in found] == [requests] * waves
    assert max(len(ask.prompt) + ask.tokens for wave in found for ask in wave) == longest
    assert found == all_waves(name)


def test_histories_hold_the_answers_and_only_their_own():
    found = all_waves("C")
    for turn, wave in enumerate(found[1:]):
        for before, after in zip(found[turn], wave, strict=True):
            said = before.prompt + (5,) * before.tokens
            assert after.prompt[: len(said)] == said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_workload_stops_where_the_context_ends(checkpoints, monkeypatch):
    def growing(_vocabulary):
        for length in (20, 200, 300):
            yield [Ask(tuple(range(10, 10 + length)), 3, "a")]

    monkeypatch.setitem(WORKLOADS, "A", growing)
    engine = Engine(load(LoadOptions(str(checkpoints["small"]), device="cpu")), cache_tokens=512)
    await engine.start()
    result = await bench.run(engine, "A")
    await engine.close()
    assert result.tokens == 6


def test_the_table_says_what_was_measured(checkpoints, monkeypatch):
    monkeypatch.setattr(bench, "COPY_BYTES", 1 << 20)

    def short(_vocabulary):
        yield [Ask((11, 12), 4)]

    monkeypatch.setitem(WORKLOADS, "A", short)
    lines = bench.main(ServiceOptions(str(checkpoints["small"]), device="cpu"), "A")
    assert "float32 on cpu" in lines[0]
    assert lines[-1].startswith("| A | ")
    assert "% of the bound" in lines[-1]
