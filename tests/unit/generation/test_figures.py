"""What is counted on one thread is asked for on another."""

import sys

import pytest

from kogpt_bot.generation import figures
from kogpt_bot.generation.figures import RATE_WINDOW_S, Rate


def test_a_rate_is_of_the_last_seconds():
    rate = Rate()
    rate.add(100.0, 30)
    rate.add(100.04, 10)
    rate.add(104.0, 60)
    assert rate.per_second(104.0) == 100 / RATE_WINDOW_S
    assert rate.per_second(100.0 + RATE_WINDOW_S + 0.2) == 60 / RATE_WINDOW_S
    assert rate.per_second(104.0 + RATE_WINDOW_S + 0.2) == 0
    rate.add(500.0, 5)
    assert rate.per_second(500.0) == 5 / RATE_WINDOW_S


def test_a_rate_that_is_asked_for_stays_as_it_is():
    rate = Rate()
    rate.add(100.0, 30)
    assert rate.per_second(200.0) == 0
    assert rate.per_second(101.0) == 30 / RATE_WINDOW_S


@pytest.mark.parametrize("moment", range(30))
def test_a_rate_can_be_asked_for_at_any_moment_of_an_addition(moment):
    """Before a line of `add` another thread asks, at a time at which all of it is old."""
    rate, lines, asked = Rate(), [], []

    def ask(_frame, event, _argument):
        if event == "line":
            lines.append(event)
            if len(lines) == moment + 1:
                asked.append(rate.per_second(1000.0))
        return ask

    def follow(frame, _event, _argument):
        return ask if frame.f_code.co_filename == figures.__file__ else None

    before = sys.gettrace()
    sys.settrace(follow)
    try:
        for second in (5.0, 20.0, 20.0, 25.0, 40.0, 40.0, 40.0, 41.0):
            rate.add(second, 10)
    finally:
        sys.settrace(before)
    assert asked == [0]
    assert rate.per_second(41.0) == 4.0
