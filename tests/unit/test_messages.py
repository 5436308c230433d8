"""Channel keys survive being written down, whatever a platform's ids look like."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.messages import Author, ChannelKey, Incoming

part = st.one_of(st.text(max_size=12), st.text(alphabet="-/%2DF", max_size=5))


@given(part.filter(bool), part.filter(bool), part, part)
def test_a_key_is_read_back_as_it_was_written(adapter, channel, guild, thread):
    key = ChannelKey(adapter, channel, guild, thread)
    assert ChannelKey.parse(str(key)) == key


@given(part.filter(bool), part, part.filter(bool), part)
def test_two_keys_are_never_written_alike(channel, guild, other_channel, other_guild):
    one = ChannelKey("a", channel, guild)
    two = ChannelKey("a", other_channel, other_guild)
    assert (str(one) == str(two)) == (one == two)


def test_what_is_no_key_is_refused():
    with pytest.raises(ValueError, match="adapter/guild/channel/thread"):
        ChannelKey.parse("web/room")
    with pytest.raises(ValueError, match="needs an adapter and a channel"):
        ChannelKey("web", "")


def test_a_message_needs_a_time_zone():
    with pytest.raises(ValueError, match="time zone"):
        Incoming(ChannelKey("a", "b"), "1", Author("u", "n"), "t", datetime(2026, 1, 1))  # noqa: DTZ001
