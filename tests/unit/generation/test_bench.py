"""The workloads are the same for everyone, and the bench runs them on a model as it is."""

import statistics
from collections import Counter
from itertools import pairwise

import pytest

from kogpt_bot.generation import bench
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.workloads import (
    AWAKE,
    BURST,
    SILENCE,
    WORKLOADS,
    Arrival,
    Ask,
    Conversations,
    arrivals,
    at_once,
    median_and_late,
    within,
)


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
    [("A", 1, 1, 384), ("B", 1, 16, 566), ("C", 10, 8, 1464), ("S", 2, 16, 336)],
)
def test_the_work_is_what_is_said(name, waves, requests, longest):
    found = all_waves(name)
    assert [len(each) for each in found] == [requests] * waves
    assert max(len(ask.prompt) + ask.tokens for wave in found for ask in wave) == longest
    assert found == all_waves(name)


def test_the_mixed_requests_are_mixed():
    [found] = all_waves("B")
    prompts, answers = [len(ask.prompt) for ask in found], [ask.tokens for ask in found]
    assert 32 <= min(prompts) < 128 < 384 < max(prompts) <= 512
    assert 32 <= min(answers) < 64 < 96 < max(answers) <= 128
    assert len({ask.channel for ask in found}) == 16


def test_waves_end_before_one_that_is_too_long():
    def growing():
        for length in (20, 200, 300):
            answers = yield [Ask((10,) * length, 3), Ask((10,), 1)]
            assert answers == [[length], [1]]

    waves = within(growing(), 203)
    assert len(next(waves)[0].prompt) == 20
    assert len(waves.send([[20], [1]])[0].prompt) == 200
    with pytest.raises(StopIteration):
        waves.send([[200], [1]])


def test_histories_hold_the_answers_and_only_their_own():
    found = all_waves("C")
    for turn, wave in enumerate(found[1:]):
        for before, after in zip(found[turn], wave, strict=True):
            said = before.prompt + (5,) * before.tokens
            assert after.prompt[: len(said)] == said


def test_arrivals_are_the_same_for_everyone():
    assert arrivals(1000, 60, 2.0) == arrivals(1000, 60, 2.0)
    assert arrivals(1000, 60, 2.0) != arrivals(1000, 60, 2.0, seed=6)
    words = [each.words for each in arrivals(1000, 60, 2.0)]
    assert words == [each.words for each in arrivals(1000, 60, 5.0)]  # only the times change


def test_arrivals_are_poisson_within_bursts_and_silent_between():
    rate, found = 4.0, arrivals(1000, 40 * BURST, 4.0)
    gaps = [after.at - before.at for before, after in pairwise(found)]
    silences = gaps[BURST - 1 :: BURST]
    within_bursts = [gap for number, gap in enumerate(gaps, 1) if number % BURST]
    assert min(silences) > SILENCE / rate
    assert statistics.mean(silences) == pytest.approx((SILENCE + 1) / rate, rel=0.1)
    # Of an exponential distribution the deviation is the mean.
    assert statistics.mean(within_bursts) == pytest.approx(1 / rate, rel=0.1)
    assert statistics.stdev(within_bursts) == pytest.approx(1 / rate, rel=0.1)


def test_channels_follow_zipfs_law_and_most_are_idle_in_a_burst():
    found = arrivals(1000, 200 * BURST, 1.0)
    said = Counter(each.channel for each in found)
    # The first is awake in a third of the bursts, as any other; the law's sums say the rest.
    assert said[0] > 1.5 * said[1] > 2 * said[4] > 2 * said[20] > 0
    assert sum(said[channel] for channel in range(20)) > 0.5 * len(found)
    for begin in range(0, len(found), BURST):
        assert len({each.channel for each in found[begin : begin + BURST]}) <= AWAKE
    bursts_of_the_first = {n // BURST for n, each in enumerate(found) if each.channel == 0}
    assert 0.25 < len(bursts_of_the_first) / 200 < 0.42


def test_a_channels_history_grows_by_answers_and_is_halved():
    talk = Conversations(1000, 256, tokens=5)
    first = talk.ask(Arrival(0.0, 3, (11,) * 40))
    talk.answered(3, [12] * 5)
    second = talk.ask(Arrival(1.0, 3, (13,) * 10))
    assert second.prompt == first.prompt + (12,) * 5 + (13,) * 10
    third = talk.ask(Arrival(2.0, 3, (14,) * 20))
    assert third.prompt == first.prompt[:64] + (second.prompt + (14,) * 20)[-64:]
    assert talk.ask(Arrival(3.0, 4, (15,))).prompt == (*first.prompt[:64], 15)
    assert (third.tokens, third.channel) == (5, "3")


@pytest.mark.parametrize("context", [64, 256, 2048])
def test_what_arrives_fits_the_context(context):
    talk = Conversations(1000, context)
    for arrival in arrivals(1000, 300, 1.0):
        asked = talk.ask(arrival)
        assert len(asked.prompt) + asked.tokens <= context
        talk.answered(arrival.channel, [10] * asked.tokens)
    assert len(at_once(1000, context)) == 16


def test_percentiles_of_few_lie_among_them():
    assert median_and_late([1.0, 3.0]) == (2.0, pytest.approx(2.9))
    assert median_and_late([float(n) for n in range(101)]) == (50.0, 95.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_workload_stops_where_the_context_ends(checkpoints, monkeypatch):
    def growing(_vocabulary):
        for length in (20, 200, 300):
            yield [Ask(tuple(range(10, 10 + length)), 3, "a")]

    monkeypatch.setitem(WORKLOADS, "A", growing)
    engine = Engine(load(LoadOptions(str(checkpoints["small"]), device="cpu")), cache_tokens=512)
    await engine.start()
    seen = []
    result = await bench.run(engine, "A", lambda *report: seen.append(report))
    await engine.close()
    assert result.tokens == 6
    assert seen[-1] == ("A", 6, 6)  # what is too long is not waited for


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_arrivals_are_answered_into_their_histories(checkpoints):
    engine = Engine(load(LoadOptions(str(checkpoints["small"]), device="cpu")), cache_tokens=512)
    await engine.start()
    coming = arrivals(engine.info.vocab_size, 6, rate=1000.0)
    talk, seen = Conversations(engine.info.vocab_size, 256, tokens=3), []
    firsts = await bench.serve(engine, talk, coming, lambda *report: seen.append(report))
    await engine.close()
    assert len(firsts) == 6
    assert min(firsts) > 0
    assert seen == [("D", done, 6) for done in range(1, 7)]
    for channel in {each.channel for each in coming}:
        words = sum(len(each.words) + 3 for each in coming if each.channel == channel)
        assert len(talk.ask(Arrival(0.0, channel, ())).prompt) == min(64 + words, 128)


def test_the_table_says_what_was_measured(checkpoints, monkeypatch):
    monkeypatch.setattr(bench, "COPY_BYTES", 1 << 20)

    def short(_vocabulary):
        yield [Ask((11, 12), 4)]

    monkeypatch.setitem(WORKLOADS, "A", short)
    lines = bench.main(ServiceOptions(str(checkpoints["small"]), device="cpu"), "A", 2)
    assert "float32 on cpu" in lines[0]
    assert lines[-1].startswith("| A | ")
    assert "% of the bound" in lines[-1]


def test_d_says_how_requests_came_and_how_soon_they_were_answered(checkpoints, monkeypatch):
    monkeypatch.setattr(bench, "COPY_BYTES", 1 << 20)
    options = ServiceOptions(str(checkpoints["small"]), device="cpu")
    lines = bench.main(options, "D", 3)
    assert not any(line.startswith("|") for line in lines)
    assert lines[-1].startswith("D: 3 requests of 200 channels by Zipf's law (1.1), Poisson")
    for part in ("(50% of what 16 at once get)", "first token p50", "a second of CPU time"):
        assert part in lines[-1]
