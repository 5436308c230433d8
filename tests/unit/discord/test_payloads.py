"""Bodies, buttons and the panel."""

import json

import pytest

from kogpt_bot import ActionKind, Malformed, Outgoing, ScopeLevel, SettingView
from kogpt_bot_discord import panel
from kogpt_bot_discord.commands import registration
from kogpt_bot_discord.loans import LASTS_S, MAX_LOANS, Loans
from kogpt_bot_discord.payloads import buttons, content, new, nonce, read_button_id


def test_a_message_that_answers_nothing_refers_to_nothing():
    body = new(Outgoing("가"), "ko")
    assert "message_reference" not in body
    assert "nonce" not in body
    assert "message_reference" not in new(Outgoing("가", reply_to="not-an-id"), "ko")


@pytest.mark.parametrize("text", ["", " \n", "가" * 2001])
def test_what_cannot_be_sent(text):
    with pytest.raises(Malformed):
        content(Outgoing(text), "ko")


def test_nonces_fit_and_differ():
    assert nonce("t1.0") == "t1.0"
    long = {nonce("x" * 30 + str(number)) for number in range(100)}
    assert len(long) == 100
    assert all(len(each) <= 25 for each in long)


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("kind", ActionKind)
def test_every_action_has_a_button_that_is_read_back(kind, language):
    (row,) = buttons(Outgoing("가", offers=(kind,), subject="a:b"), language)
    (button,) = row["components"]
    assert read_button_id(button["custom_id"]) == (kind, "a:b")
    assert button.get("label") or button["emoji"]
    assert len(button.get("label", "")) <= 80


def test_a_button_whose_id_would_be_too_long_is_left_out():
    assert buttons(Outgoing("가", offers=(ActionKind.GOOD,), subject="x" * 100), "ko") == []


@pytest.mark.parametrize("custom_id", ["", "kogpt", "kogpt:do:", "other:do:stop:", "kogpt:do:fly:"])
def test_a_foreign_button_is_not_ours(custom_id):
    assert read_button_id(custom_id) is None
    assert panel.read(custom_id) is None


@pytest.mark.parametrize("what", panel.WHATS)
@pytest.mark.parametrize("level", ScopeLevel)
def test_a_press_is_read_back(what, level):
    press = panel.Press(what, level, "sampling.top_k")
    assert panel.read(press.custom_id) == press


def test_a_hundred_settings_fit_and_more_are_left_out():
    views = [SettingView(f"a.b{n}", "v" * 200, "s" * 200, "x" * 200) for n in range(150)]
    rows = panel.overview(views, ScopeLevel.CHANNEL, [ScopeLevel.CHANNEL], "ko")
    assert len(rows) == 5
    for row in rows:
        (menu,) = row["components"]
        assert 1 <= len(menu["options"]) <= 25
        for option in menu["options"]:
            assert len(option["label"]) <= 100
            assert len(option.get("description", "x")) <= 100


def test_the_registration_is_plain_json_within_discords_limits():
    commands = registration()
    assert json.loads(json.dumps(commands)) == commands
    for part in commands[0]["options"]:
        assert part["name"] == part["name"].lower()
        required = [option.get("required", False) for option in part["options"]]
        assert required == sorted(required, reverse=True), "required ones stand first"
        for named in (part, *part["options"]):
            for text in (named["name"], named["name_localizations"]["ko"]):
                assert 1 <= len(text) <= 32
                assert " " not in text
            assert len(named["description_localizations"]["ko"]) <= 100
    assert len(json.dumps(commands[0], ensure_ascii=False)) < 8000


def test_a_leave_to_speak_ends():
    now = [0.0]
    loans = Loans(lambda: now[0])
    loans.lend("c", "token", deferred=True, message_id="m")
    assert loans.in_channel("c").token == "token"
    assert loans.of_message("m") is loans.in_channel("c")
    now[0] = LASTS_S + 1
    assert loans.in_channel("c") is None
    assert loans.of_message("m") is None
    for number in range(MAX_LOANS + 10):
        loans.lend(str(number), "t", deferred=False)
    assert loans.in_channel("0") is None
