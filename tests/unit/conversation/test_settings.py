"""Settings by place: the more special scope wins, a command before the file, and all is traceable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.conversation.settings import (
    KEYS,
    ChannelSettings,
    Level,
    Origin,
    SettingsLayers,
    Source,
    flatten,
    resolve,
    scopes,
    with_values,
)
from kogpt_bot.messages import ChannelKey

THREAD = ChannelKey("discord", "C", guild="G", thread="T")


def test_scopes_from_weak_to_strong():
    assert [scope for _, scope in scopes(THREAD)] == [
        "", "discord", "discord/G", "discord/G/C", "discord/G/C/T"
    ]  # fmt: skip
    assert [s for _, s in scopes(ChannelKey("web", "방"))] == ["", "web", "web/-/방"]


def test_without_anything_set_all_is_built_in():
    effective = resolve(THREAD, SettingsLayers())
    assert effective.settings == ChannelSettings()
    assert effective.source("sampling.temperature") == Source()


def test_the_special_wins_and_says_where_it_comes_from():
    layers = SettingsLayers(
        file={
            "": {"sampling.temperature": 0.1, "stream": False},
            "discord/G/C": {"sampling.temperature": 0.3},
        },
        command={
            "discord": {"sampling.temperature": 0.2, "persona": "poet"},
            "discord/G/C": {"sampling.top_k": 7},
        },
    )
    effective = resolve(THREAD, layers)
    assert effective.settings.sampling.temperature == 0.3
    assert effective.source("sampling.temperature") == Source(
        Origin.FILE, Level.CHANNEL, "discord/G/C"
    )
    assert effective.settings.sampling.top_k == 7
    assert effective.settings.persona == "poet"
    assert effective.source("persona") == Source(Origin.COMMAND, Level.PLATFORM, "discord")
    assert effective.settings.stream is False


@given(st.sampled_from(["", "discord", "discord/G", "discord/G/C", "discord/G/C/T"]))
def test_at_one_level_the_command_wins(scope):
    layers = SettingsLayers({scope: {"sampling.top_k": 1}}, {scope: {"sampling.top_k": 2}})
    assert resolve(THREAD, layers).settings.sampling.top_k == 2


def test_another_channels_settings_do_not_apply():
    layers = SettingsLayers({"discord/G/D": {"stream": False}, "discord/H": {"stream": False}})
    assert resolve(THREAD, layers).settings.stream is True


def test_keys_and_values_belong_together():
    assert set(flatten(ChannelSettings())) == set(KEYS)
    changed = with_values(ChannelSettings(), {"sampling.seed": 5})
    assert flatten(changed)["sampling.seed"] == 5
    with pytest.raises(KeyError):
        with_values(ChannelSettings(), {"sampling.heat": 1})
    with pytest.raises(KeyError):
        resolve(THREAD, SettingsLayers()).source("heat")
