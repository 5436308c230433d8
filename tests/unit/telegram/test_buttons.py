"""Buttons under answers and in the settings, and reactions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.messages import (
    Action,
    ActionKind,
    ActionResult,
    Author,
    ChannelKey,
    Outgoing,
    ScopeLevel,
    SettingView,
)
from kogpt_bot_telegram import buttons
from kogpt_bot_telegram.buttons import (
    MAX_DATA_BYTES,
    Choose,
    Close,
    Offer,
    Reset,
    ShowPage,
    ShowSetting,
    decode,
    encode,
)
from tests.fakes.telegram import PERSON
from tests.fakes.telegram.platform import OTHER

HERE = ChannelKey("telegram", str(PERSON["id"]))
NAMES = st.text(st.characters(exclude_characters=":", codec="utf-8"), min_size=1)
LEVELS = st.sampled_from([ScopeLevel.CHANNEL, ScopeLevel.THREAD])


@given(
    st.one_of(
        st.builds(Offer, st.sampled_from(ActionKind), st.text()),
        st.builds(ShowPage, LEVELS, st.integers()),
        st.builds(ShowSetting, LEVELS, NAMES),
        st.builds(Reset, LEVELS, NAMES),
        st.builds(Choose, LEVELS, NAMES, st.text()),
        st.just(Close()),
    )
)
def test_data_says_it_all(press):
    assert decode(encode(press)) == press


@pytest.mark.parametrize("data", ["", "o:nonsense:", "p:z:1", "p:c:x", "c:c:1", "zzz", "s:", "p:"])
def test_data_of_another_version_means_nothing(data):
    assert decode(data) is None


def view(number, **more):
    return SettingView(f"section.setting_{number}", str(number), "기본값", "숫자", **more)


def test_pages_have_every_setting_and_fit():
    views = tuple(view(n) for n in range(25))
    seen = []
    for page in range(4):
        panel = buttons.settings_page(
            ActionResult(True, "설정이에요.", views), ScopeLevel.CHANNEL, page, topic=True
        )
        assert f"{page + 1}/4" in panel.text
        for row in panel.keyboard.inline_keyboard:
            for button in row:
                assert len(button.callback_data.encode()) <= MAX_DATA_BYTES
                if isinstance(press := decode(button.callback_data), ShowSetting):
                    seen.append(press.name)
    assert seen == [each.name for each in views]


def test_what_fits_no_button_is_left_out():
    message = Outgoing("글", offers=(ActionKind.HIT_RIGHT, ActionKind.GOOD), subject="x" * 55)
    (row,) = buttons.under(message).inline_keyboard
    assert [button.text for button in row] == ["👍"]
    assert buttons.under(Outgoing("글")) is None


async def test_an_answers_buttons_become_actions(fake, bot, inbox):
    message = Outgoing(
        "답", offers=(ActionKind.REGENERATE, ActionKind.GOOD, ActionKind.HIT_WRONG), subject="42"
    )
    id_ = int(await bot.send(HERE, message))
    inbox.results[ActionKind.HIT_WRONG] = ActionResult(False, "그런 기록이 없어요.")
    fake.press(PERSON["id"], id_, "👍")
    fake.press(PERSON["id"], id_, "❌")
    await fake.until(lambda: len(fake.answers) == 2)
    good, wrong = inbox.actions
    assert (good.kind, good.message_id, good.key) == (ActionKind.GOOD, str(id_), HERE)
    assert (wrong.kind, wrong.subject, wrong.manager) == (ActionKind.HIT_WRONG, "42", True)
    shown = {each["text"]: each.get("show_alert") for each in fake.answers}
    assert shown == {"됐어요.": "false", "그런 기록이 없어요.": "true"}


async def test_an_edit_replaces_the_buttons(fake, bot):
    id_ = await bot.send(HERE, Outgoing("쓰는 중", final=False, offers=(ActionKind.STOP,)))
    assert fake.shown()[0]["reply_markup"]["inline_keyboard"][0][0]["text"] == "⏹️"
    await bot.edit(HERE, id_, Outgoing("다 썼어요"))
    assert "reply_markup" not in fake.shown()[0]


async def test_a_button_in_a_group_acts_for_who_pressed_it(fake, bot, inbox):
    group = fake.group()
    fake.admins[group] = {PERSON["id"]}
    key = ChannelKey("telegram", str(group), thread="7")
    id_ = int(await bot.send(key, Outgoing("답", offers=(ActionKind.DELETE,))))
    fake.press(group, id_, "🗑️", user=OTHER)
    fake.press(group, id_, "🗑️", user=PERSON)
    await fake.until(lambda: len(inbox.actions) == 2)
    assert [a.author.id for a in inbox.actions] == [str(OTHER["id"]), str(PERSON["id"])]
    assert [a.manager for a in inbox.actions] == [False, True]
    assert {a.key for a in inbox.actions} == {key}


async def test_a_button_of_a_message_that_telegram_no_longer_gives(fake, bot, inbox):
    group = fake.group()
    key = ChannelKey("telegram", str(group), thread="7")
    id_ = int(await bot.send(key, Outgoing("답", offers=(ActionKind.GOOD,))))
    old = {"chat": fake.chats[group], "message_id": id_, "date": 0}
    query = {
        "id": "1", "from": PERSON, "chat_instance": "1", "message": old, "data": "o:good:",
    }  # fmt: skip
    fake.tell("callback_query", query)
    await fake.until(lambda: inbox.actions)
    assert inbox.actions[0].key == key


async def test_nonsense_data_is_acknowledged_and_nothing_else(fake, bot, inbox):
    id_ = int(await bot.send(HERE, Outgoing("답", offers=(ActionKind.GOOD,))))
    fake.shown()[0]["reply_markup"]["inline_keyboard"][0][0]["callback_data"] = "zzz"
    fake.press(PERSON["id"], id_, "👍")
    await fake.until(lambda: fake.answers)
    assert not inbox.actions


class Settings:
    """A core with two settings."""

    def __init__(self, inbox):
        self.values = {"language": "ko", "persona": "default"}
        self.choices = {"language": ("ko", "en"), "persona": ("default", "시인")}
        self.inbox = inbox

    async def act(self, action: Action) -> ActionResult:
        self.inbox.actions.append(action)
        if action.kind is ActionKind.SET:
            if not action.manager:
                return ActionResult(False, "관리하는 분만 할 수 있어요.")
            if action.value not in self.choices[action.name]:
                return ActionResult(False, "쓸 수 없는 값이에요.")
            self.values[action.name] = action.value
            return ActionResult(True, "바꿨어요.")
        if action.kind is ActionKind.RESET:
            self.values[action.name] = "default"
            return ActionResult(True, "되돌렸어요.")
        views = tuple(
            SettingView(name, value, "기본값", "x", self.choices[name])
            for name, value in self.values.items()
        )
        return ActionResult(True, "설정이에요.", views)


async def test_settings_are_changed_by_buttons(fake, bot, inbox):
    core = Settings(inbox)
    inbox.act = core.act
    fake.say("/settings")
    await fake.until(fake.shown)
    id_ = fake.shown()[0]["message_id"]
    chat = PERSON["id"]
    fake.press(chat, id_, "persona: default")
    await fake.until(lambda: "persona = default" in fake.texts()[0])
    fake.press(chat, id_, "시인")
    await fake.until(lambda: "persona = 시인" in fake.texts()[0])
    fake.press(chat, id_, "↩")
    await fake.until(lambda: "persona = default" in fake.texts()[0])
    fake.press(chat, id_, "목록")
    await fake.until(lambda: "설정이에요." in fake.texts()[0])
    fake.press(chat, id_, "✖")
    await fake.until(lambda: not fake.shown())
    assert [each["text"] for each in fake.answers if "text" in each] == ["바꿨어요.", "되돌렸어요."]
    change = next(each for each in inbox.actions if each.kind is ActionKind.SET)
    assert (change.name, change.value, change.level) == ("persona", "시인", ScopeLevel.CHANNEL)


async def test_in_a_topic_one_chooses_how_far_a_setting_reaches(fake, bot, inbox):
    core = Settings(inbox)
    inbox.act = core.act
    group = fake.group()
    fake.admins[group] = {PERSON["id"]}
    fake.say("/settings", chat=group, thread=7)
    await fake.until(lambda: fake.shown(group))
    id_ = fake.shown(group)[0]["message_id"]
    assert fake.shown(group)[0]["message_thread_id"] == 7
    fake.press(group, id_, "범위: 모든 주제")
    label = lambda: str(fake.shown(group)[0]["reply_markup"])  # noqa: E731
    await fake.until(lambda: "범위: 이 주제만" in label())
    fake.press(group, id_, "language")
    await fake.until(lambda: "language = ko" in fake.texts(group)[0])
    fake.press(group, id_, "en", user=OTHER)
    await fake.until(lambda: fake.answers[-1].get("show_alert") == "true")
    assert core.values["language"] == "ko"
    fake.press(group, id_, "en")
    await fake.until(lambda: "language = en" in fake.texts(group)[0])
    assert "List" in label()  # the panel's own words follow
    assert inbox.actions[-2].level is ScopeLevel.THREAD


async def test_a_choice_that_has_changed_since_is_not_set(fake, bot, inbox):
    core = Settings(inbox)
    inbox.act = core.act
    fake.say("/settings")
    await fake.until(fake.shown)
    id_ = fake.shown()[0]["message_id"]
    fake.press(PERSON["id"], id_, "persona")
    await fake.until(lambda: "persona =" in fake.texts()[0])
    core.choices["persona"] = ("default", "악당")
    fake.press(PERSON["id"], id_, "시인")
    await fake.until(lambda: "악당" in str(fake.shown()[0]["reply_markup"]))
    await fake.until(lambda: fake.answers[-1].get("text") == "쓸 수 없는 값이에요.")
    assert core.values["persona"] == "default"


@pytest.mark.parametrize(
    ("emoji", "old", "kind"),
    [
        ("👍", None, ActionKind.GOOD),
        ("👎", "👍", ActionKind.BAD),
        ("❤", None, None),
        (None, "👍", None),
        ("👍", "👍", None),
    ],
)
async def test_thumbs_are_feedback(fake, bot, inbox, emoji, old, kind):
    group = fake.group()
    key = ChannelKey("telegram", str(group), thread="7")
    id_ = int(await bot.send(key, Outgoing("답")))
    fake.react(group, id_, emoji, OTHER, old=old)
    fake.say("다음", chat=group)
    await inbox.wait_for(1)
    found = [(a.kind, a.message_id, a.key, a.author) for a in inbox.actions]
    author = Author(str(OTHER["id"]), "지은 김")
    assert found == ([(kind, str(id_), key, author)] if kind else [])
