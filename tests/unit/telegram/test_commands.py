"""Typed commands, Korean and English, and what is registered."""

import pytest
from telegram import Message, User

from kogpt_bot.messages import ActionKind, ActionResult, Attachment, Author, ScopeLevel
from kogpt_bot_telegram.commands import is_foreign, spelled, typed_commands, wish_of
from tests.fakes.telegram import BOT, PERSON, FakeTelegram
from tests.fakes.telegram.platform import ANONYMOUS, OTHER
from tests.unit.telegram.conftest import running

ME = User.de_json(BOT, None)


def message(text, **options):
    platform = FakeTelegram()
    return Message.de_json(platform.say(text, chat=platform.group(), **options), None)


@pytest.mark.parametrize(
    ("text", "kind", "fields"),
    [
        ("/stop", ActionKind.STOP, {}),
        ("/STOP@koko_bot", ActionKind.STOP, {}),
        ("/멈춤", ActionKind.STOP, {}),
        ("/start", ActionKind.HELP, {}),
        ("/start payload", ActionKind.HELP, {}),
        ("/도움말", ActionKind.HELP, {}),
        ("/report 이상한 말을 해요", ActionKind.REPORT, {"value": "이상한 말을 해요"}),
        ("/persona  시인", ActionKind.PERSONA, {"value": "시인"}),
        ("/answer 12", ActionKind.ANSWER, {"message_id": "12"}),
        (
            "/set sampling.temperature 0.7",
            ActionKind.SET,
            {"name": "sampling.temperature", "value": "0.7"},
        ),
        (
            "/set trigger.wake_words 코코, 봇 주제",
            ActionKind.SET,
            {"name": "trigger.wake_words", "value": "코코, 봇", "level": ScopeLevel.THREAD},
        ),
        ("/set persona 채널", ActionKind.SET, {"name": "persona", "value": "채널"}),
        ("/set", ActionKind.SET, {}),
        ("/reset", ActionKind.RESET, {}),
        ("/reset thread", ActionKind.RESET, {"level": ScopeLevel.THREAD}),
        ("/reset persona", ActionKind.RESET, {"name": "persona"}),
        ("/reset persona topic", ActionKind.RESET, {"name": "persona", "level": ScopeLevel.THREAD}),
    ],
)
def test_what_a_command_asks_for(text, kind, fields):
    wish = wish_of(message(text), ME)
    assert wish.kind is kind
    assert dict(wish.fields) == fields
    assert not is_foreign(message(text), ME)


@pytest.mark.parametrize(
    "text", ["안녕", "/stop@other_bot", "/unknown", "/", "말 /stop", "/hit_right"]
)
def test_what_is_no_command_of_ours(text):
    assert wish_of(message(text), ME) is None


@pytest.mark.parametrize(
    ("text", "foreign"),
    [("/stop@other_bot", True), ("/unknown", True), ("/stop", False), ("말 /unknown", False)],
)
def test_commands_of_others(text, foreign):
    assert is_foreign(message(text), ME) is foreign


def test_the_words_of_the_core_name_commands_as_they_are_typed_here():
    text = "이런 것도 할 수 있어요.\n• 다시쓰기: 답을 다시 써요\n• 멈춤: 멈춰요\n• stop: Stop it"
    assert spelled(text) == (
        "이런 것도 할 수 있어요.\n/regenerate: 답을 다시 써요\n/stop: 멈춰요\n/stop: Stop it"
    )
    assert spelled("다시 대화하려면 ‘기억허락’ 명령을") == "다시 대화하려면 ‘/optin’ 명령을"
    assert spelled("use optin. /optin") == "use /optin. /optin"


async def test_the_commands_are_registered_in_both_languages(fake, make, inbox):
    async with running(make(commands=True), inbox):
        await fake.until(lambda: len(fake.menus) == 9)
    languages = [menu.get("language_code") for menu in fake.menus]
    assert languages == [None, "ko", "en"] * 3
    scopes = [menu["scope"]["type"] for menu in fake.menus[::3]]
    assert scopes == ["default", "all_group_chats", "all_chat_administrators"]
    korean, english = fake.menus[1], fake.menus[2]
    names = [command.name.en for command in typed_commands()]
    assert [each["command"] for each in korean["commands"]] == names
    assert [each["command"] for each in english["commands"]] == names
    words = {each["command"]: each["description"] for each in korean["commands"]}
    assert words["stop"] == "쓰고 있는 답을 멈춰요"
    assert "set" not in [each["command"] for each in fake.menus[3]["commands"]]


async def test_commands_that_cannot_be_registered_leave_a_bot_that_talks(fake, make, inbox):
    fake.fail("setMyCommands", 400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
    async with running(make(commands=True), inbox):
        await fake.until(lambda: fake.made("setMyCommands"))
        fake.say("안녕")
        await inbox.wait_for(1)


async def test_a_command_is_carried_out_and_answered(fake, bot, inbox):
    fake.say("/status")
    await fake.until(fake.texts)
    assert fake.texts() == ["됐어요."]
    (action,) = inbox.actions
    assert (action.kind, action.direct, action.manager) == (ActionKind.STATUS, True, True)
    assert action.author == Author(str(PERSON["id"]), "민수")
    assert not inbox.messages


async def test_help_can_be_tapped(fake, bot, inbox):
    inbox.results[ActionKind.HELP] = ActionResult(True, "안녕하세요!\n• 멈춤: 멈춰요 @everyone")
    fake.say("/start")
    await fake.until(fake.texts)
    assert fake.texts() == ["안녕하세요!\n/stop: 멈춰요 @everyone"]
    assert [e["type"] for e in fake.shown()[0]["entities"]] == ["bot_command"]


async def test_a_reply_says_which_answer_is_meant(fake, bot, inbox):
    group = fake.group()
    answer = fake._message(group, BOT, None, None, text="네")
    fake.say("/good", chat=group, reply_to=answer["message_id"])
    await fake.until(lambda: inbox.actions)
    assert inbox.actions[0].message_id == str(answer["message_id"])


async def test_in_a_group_rights_are_asked_for_at_the_moment_of_use(fake, bot, inbox):
    group = fake.group()
    fake.admins[group] = {PERSON["id"]}
    fake.say("/clear", chat=group)
    await fake.until(lambda: len(inbox.actions) == 1)
    fake.admins[group] = set()
    fake.say("/clear", chat=group)
    await fake.until(lambda: len(inbox.actions) == 2)
    fake.say("/forget", chat=group, user=OTHER)
    await fake.until(lambda: len(inbox.actions) == 3)
    assert [action.manager for action in inbox.actions] == [True, False, False]
    assert not any(action.direct for action in inbox.actions)
    assert inbox.actions[2].author.id == str(OTHER["id"])
    assert len(fake.made("getChatMember")) == 2  # whom one forgets is oneself
    await fake.until(lambda: len(fake.texts(group)) == 3)


async def test_rights_that_telegram_does_not_tell_are_none(fake, bot, inbox):
    fake.fail("getChatMember", 400, "Bad Request: user not found")
    fake.say("/clear", chat=fake.group())
    await fake.until(lambda: inbox.actions)
    assert not inbox.actions[0].manager


async def test_a_server_that_tells_no_more_than_the_status_will_do(fake, bot, inbox):
    fake.terse = True
    fake.say("/clear", chat=fake.group())
    await fake.until(lambda: inbox.actions)
    assert inbox.actions[0].manager


async def test_who_writes_as_the_group_manages_it(fake, bot, inbox):
    group = fake.group()
    fake.say("/clear", chat=group, user=ANONYMOUS, sender_chat=fake.chats[group])
    await fake.until(lambda: inbox.actions)
    assert inbox.actions[0].manager
    assert not fake.made("getChatMember")


async def test_commands_of_other_bots_are_not_heard(fake, bot, inbox):
    group = fake.group()
    fake.say("/stop@other_bot", chat=group)
    fake.say("/whatever", chat=group)
    fake.say("안녕", chat=group)
    await inbox.wait_for(1)
    assert [each.text for each in inbox.messages] == ["안녕"]
    assert not inbox.actions


async def test_an_unknown_command_in_private_is_helped(fake, bot, inbox):
    fake.say("/whatever")
    await fake.until(lambda: inbox.actions)
    assert inbox.actions[0].kind is ActionKind.HELP


async def test_a_file_comes_in_private_wherever_it_was_asked_for(fake, bot, inbox):
    inbox.results[ActionKind.EXPORT] = ActionResult(
        True, "저장된 내 자료예요.", attachment=Attachment("mine.json", b"{}")
    )
    group = fake.group()
    fake.say("/export", chat=group)
    await fake.until(lambda: fake.files)
    (file,) = fake.files
    assert (file["chat"], file["file_name"], file["content"]) == (PERSON["id"], "mine.json", b"{}")
    assert not fake.texts(group)


async def test_who_never_wrote_to_the_bot_is_asked_to(fake, bot, inbox):
    inbox.results[ActionKind.EXPORT] = ActionResult(
        True, "저장된 내 자료예요.", attachment=Attachment("mine.json", b"{}")
    )
    group = fake.group()
    fake.private(OTHER)
    fake.blocked.add(OTHER["id"])
    fake.say("/export", chat=group, user=OTHER)
    await fake.until(lambda: fake.texts(group))
    assert "먼저 저에게 말을 걸어 주세요. https://t.me/koko_bot" in fake.texts(group)[0]
    assert not fake.files
