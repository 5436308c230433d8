"""Peers of both kinds under waves and arrivals; time is a number here."""

from types import SimpleNamespace

import pytest

from benchmarks.engine import worker
from kogpt_bot.generation.workloads import Arrival, Ask, Conversations, arrivals


class Clock:
    def __init__(self):
        self.time, self.slept = 0.0, []

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds


class Steps:
    """Gives every running request a token a step, which takes a second."""

    def __init__(self, clock):
        self.clock, self.running, self.batches = clock, {}, []

    def add(self, key, prompt, count):
        self.running[key] = ([], count)

    def step(self):
        self.clock.time += 1
        self.batches.append(sorted(self.running))
        grown = []
        for key, (tokens, count) in list(self.running.items()):
            tokens.append(key)
            grown.append((key, tokens, len(tokens) == count))
            if len(tokens) == count:
                del self.running[key]
        return grown


class Waves:
    """Answers a wave in two seconds; the first tokens come after half a second."""

    def __init__(self, clock, at_once):
        self.clock, self.at_once, self.sizes = clock, at_once, []

    def wave(self, requests):
        self.sizes.append(len(requests))
        self.clock.time += 2
        return [([7] * count, 0.5, 0.5) for _, count in requests]


class Talk:
    def __init__(self, tokens=2):
        self.tokens, self.answers = tokens, []

    def ask(self, arrival):
        return Ask(arrival.words, self.tokens, str(arrival.channel))

    def answered(self, channel, tokens):
        self.answers.append((channel, tokens))


def coming(*times):
    return [Arrival(at, channel, (10,)) for channel, at in enumerate(times)]


def served(peer, clock, times):
    done, talk = [], Talk()
    firsts = worker.serve(peer, talk, coming(*times), done.append, clock.now, clock.sleep)
    assert done == list(range(1, len(times) + 1))
    return firsts, talk


def test_a_wave_is_the_steps_until_all_have_ended():
    peer = Steps(Clock())
    answers = worker.wave(peer, [((1,), 3), ((2,), 1)])
    assert [tokens for tokens, *_ in answers] == [[0, 0, 0], [1]]
    assert peer.batches == [[0, 1], [0], [0]]


def test_requests_join_those_that_run_and_nobody_asks_before_one_comes():
    clock = Clock()
    peer = Steps(clock)
    firsts, talk = served(peer, clock, [4.0, 4.5, 20.0])
    assert firsts == [1.0, 1.5, 1.0]  # the second came in the middle of a step
    assert peer.batches == [[0], [0, 1], [1], [2], [2]]
    assert clock.slept == [4.0, 13.0]
    assert talk.answers == [(0, [0, 0]), (1, [1, 1]), (2, [2, 2])]


@pytest.mark.parametrize(
    ("at_once", "sizes", "firsts"),
    [(1, [1, 1, 1], [0.5, 1.5, 3.5]), (16, [1, 2], [0.5, 1.5, 1.5])],
)
def test_a_peer_of_waves_has_a_queue(at_once, sizes, firsts):
    clock = Clock()
    peer = Waves(clock, at_once)
    found, _ = served(peer, clock, [0.0, 1.0, 1.0])
    assert (peer.sizes, found) == (sizes, firsts)


def test_a_process_makes_the_same_arrivals_by_itself():
    plan = {"vocabulary": 1000, "context": 256, "requests": 5, "rate": 3.0, "seed": 5}
    heard = []

    def serve(talk, found, report):
        heard.extend(talk.ask(each).prompt for each in found)
        report(1)
        return [0.5]

    done = []
    got = worker.answer(SimpleNamespace(serve=serve), {"arrivals": plan}, done.append)
    assert (got["firsts"], done) == ([0.5], [1])
    talk = Conversations(1000, 256)
    assert heard == [talk.ask(each).prompt for each in arrivals(1000, 5, 3.0)]


def test_a_worker_reports_on_the_way():
    from benchmarks.engine.measure import Worker

    lines = iter(['{"done": 1}\n', '{"done": 2}\n', '{"firsts": []}\n', ""])
    pipe = SimpleNamespace(write=lambda _: None, flush=lambda: None, readline=lambda: next(lines))
    process = SimpleNamespace(stdin=pipe, stdout=pipe, wait=lambda: 9)
    done = []
    one = Worker("ours:float32", process)
    assert one.ask({"arrivals": {}}, done.append) == {"firsts": []}
    assert done == [1, 2]
    with pytest.raises(RuntimeError, match="ours:float32 ended: status 9"):
        one.ask({"wave": []})
