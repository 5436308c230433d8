"""When Discord may be called again."""

import pytest
from discord.http import Route

from kogpt_bot_discord.limits import MAX_KNOWN, UNKNOWN_WAIT_S, RateLimits


class Time:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def limits(time):
    return RateLimits(time)


def send(channel=1):
    return Route("POST", "/channels/{channel_id}/messages", channel_id=channel)


def edit(channel=1, message=1):
    path = "/channels/{channel_id}/messages/{message_id}"
    return Route("PATCH", path, channel_id=channel, message_id=message)


def refused(seconds, **more):
    return {"retry_after": seconds, "global": False, **more}


def test_a_refusal_holds_its_route_in_its_channel(limits, time):
    assert limits.heard(send(), {}, 429, refused(2.0)) == 2.0
    assert limits.wait(send()) == 2.0
    assert limits.wait(send(2)) == limits.wait(edit()) == 0
    time.now += 2.0
    assert limits.wait(send()) == 0


def test_routes_of_one_bucket_wait_together(limits):
    headers = {"X-RateLimit-Bucket": "b", "X-RateLimit-Remaining": "1"}
    limits.heard(send(), headers, 200, {})
    limits.heard(edit(), headers, 200, {})
    empty = {**headers, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1.5"}
    assert limits.heard(edit(), empty, 200, {}) == 0
    assert limits.wait(send()) == limits.wait(edit()) == 1.5
    assert limits.wait(send(2)) == 0


def test_a_global_refusal_holds_all_but_interactions(limits):
    limits.heard(send(), {}, 429, {"retry_after": 3.0, "global": True})
    assert limits.wait(edit(7)) == 3.0
    path = "/webhooks/{webhook_id}/{webhook_token}"
    assert limits.wait(Route("POST", path, webhook_id=1, webhook_token="t")) == 0


def test_a_shorter_refusal_does_not_end_a_longer_one(limits):
    limits.heard(send(), {}, 429, refused(5.0))
    limits.heard(send(), {}, 429, refused(1.0))
    assert limits.wait(send()) == 5.0


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ("error 1015", {}, UNKNOWN_WAIT_S),
        ("error 1015", {"Retry-After": "7"}, 7.0),
        ({"retry_after": "soon"}, {}, UNKNOWN_WAIT_S),
        ({"retry_after": -1}, {}, UNKNOWN_WAIT_S),
        ({"retry_after": float("nan")}, {}, UNKNOWN_WAIT_S),
        ({}, {"Retry-After": "0.5"}, 0.5),
    ],
)
def test_a_refusal_without_a_proper_time(limits, body, headers, seconds):
    assert limits.heard(send(), headers, 429, body) == seconds


def test_what_is_known_is_bounded(limits, time):
    for number in range(3 * MAX_KNOWN):
        time.now += 1
        headers = {"X-RateLimit-Bucket": f"b{number}", "X-RateLimit-Remaining": "0"}
        limits.heard(send(number), {**headers, "X-RateLimit-Reset-After": "0.5"}, 200, {})
    assert len(limits._empty_until) <= MAX_KNOWN
    assert len(limits._buckets) <= MAX_KNOWN
