"""Settings as people type them and as the store keeps them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.conversation.setting_values import (
    check_overrides,
    check_setting,
    parse_value,
    plain_value,
)
from kogpt_bot.conversation.settings import (
    KEYS,
    ChannelSettings,
    Language,
    PromptStyle,
    SettingsLayers,
    flatten,
    resolve,
)
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import ChannelKey


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("sampling.temperature", " 0.5 ", 0.5),
        ("sampling.temperature", "1", 1.0),
        ("sampling.seed", "없음", None),
        ("sampling.seed", "3", 3),
        ("trigger.wake_words", "코코, 봇아", ("코코", "봇아")),
        ("trigger.wake_words", "", ()),
        ("stream", "끄기", False),
        ("stream", "ON", True),
        ("prompt.style", "chat", PromptStyle.CHAT),
        ("language", "en", Language.EN),
        ("persona", "시인", "시인"),
    ],
)
def test_a_value_that_is_typed(key, text, value):
    parsed = parse_value(key, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("sampling.temperature", "9", "sampling.temperature: 9.0 is not allowed; allowed: a number from 0 to 5"),
        ("sampling.temperature", "nan", "allowed: a number from 0 to 5"),
        ("sampling.temperature", "뜨겁게", '"뜨겁게" is not allowed; allowed: a number from 0 to 5'),
        ("sampling.top_k", "1.5", "allowed: a whole number from 0 to 1000000"),
        ("sampling.seed", "9" * 5000, "is not allowed; allowed: a whole number from 0"),
        ("stream", "글쎄", "allowed: true or false"),
        ("prompt.style", "poem", "allowed: transcript, chat"),
        ("sampling.temprature", "1", "is not known; did you mean sampling.temperature?"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_is_allowed_is_said_in_one_line(key, text, message):
    with pytest.raises(ConfigurationError) as caught:
        parse_value(key, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(key=st.sampled_from(sorted(KEYS)), text=st.text(max_size=20))
def test_any_text_is_taken_or_refused(key, text):
    try:
        value = parse_value(key, text)
    except ConfigurationError:
        return
    assert check_setting(key, plain_value(value)) == value


def test_what_is_stored_comes_back_as_it_was():
    for key, value in flatten(ChannelSettings()).items():
        restored = check_setting(key, plain_value(value))
        assert (restored, type(restored)) == (value, type(value))


def test_stored_settings_of_another_version_do_no_harm():
    stored = {
        "": {"prompt.style": "chat", "sampling.gone": 1},
        "web": {"sampling.temperature": "hot", "trigger.wake_words": ["봇"]},
    }
    overrides, faults = check_overrides(stored)
    effective = resolve(ChannelKey("web", "방"), SettingsLayers(command=overrides)).settings
    assert effective.prompt.style is PromptStyle.CHAT
    assert effective.trigger.wake_words == ("봇",)
    assert effective.sampling == ChannelSettings().sampling
    assert [fault.split(" ", 2)[:2] for fault in faults] == [
        ["defaults", "sampling.gone:"],
        ["web", "sampling.temperature:"],
    ]
