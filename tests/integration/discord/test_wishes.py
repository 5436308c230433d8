"""Commands, buttons, menus and modals: what the core is asked, and what people are told."""

import asyncio

import pytest

from kogpt_bot.errors import Refused, StoreError
from kogpt_bot.messages import (
    ActionKind,
    ActionResult,
    Attachment,
    ChannelKey,
    Outgoing,
    ScopeLevel,
    SettingView,
)
from kogpt_bot_discord.commands import KINDS
from kogpt_bot_discord.settings import Places
from tests.fakes.discord.render import render
from tests.fakes.discord.server import COMMAND, COMPONENT, MODAL
from tests.fakes.discord.world import MANAGE_CHANNELS, MANAGE_GUILD

VIEWS = (
    SettingView("persona", "default", "기본값", "default, poet", ("default", "poet")),
    SettingView("sampling.temperature", "0.5", "서버", "0부터 5까지"),
    *(SettingView(f"more.number{n}", str(n), "기본값", "수") for n in range(30)),
)


def slash(part, **said):
    options = [{"name": name, "type": 3, "value": value} for name, value in said.items()]
    return {
        "id": "1", "name": "kogpt", "type": 1,
        "options": [{"name": part, "type": 1, "options": options}],
    }  # fmt: skip


def menu(name, message):
    return {
        "id": "2", "name": name, "type": 3, "target_id": message["id"],
        "resolved": {"messages": {message["id"]: message}},
    }  # fmt: skip


def press(custom_id, *values):
    data = {"custom_id": custom_id, "component_type": 3 if values else 2}
    return {**data, "values": list(values)} if values else data


def typed(custom_id, text):
    row = {"type": 1, "components": [{"type": 4, "custom_id": "text", "value": text}]}
    return {"custom_id": custom_id, "components": [row]}


def answer_with(bot, result):
    """Let the core answer every action with a result."""

    async def act(action):
        bot.inbox.actions.append(action)
        return result(action) if callable(result) else result

    bot.inbox.act = act


async def test_the_commands_are_registered_in_two_languages(bot, discord):
    async with bot.running():
        await discord.gateway.wait_until(lambda: discord.rest.commands)
    kogpt, answer, report = discord.rest.commands
    assert kogpt["name"] == "kogpt"
    parts = {part["name"]: part for part in kogpt["options"]}
    for name in (
        "chat", "settings", "persona", "forget", "optout", "export", "stop", "regenerate",
        "status", "help", "thread",
    ):  # fmt: skip
        part = parts[name]
        assert part["name_localizations"]["ko"]
        assert part["description_localizations"]["ko"]
        assert 1 <= len(part["description"]) <= 100
    assert answer["name"] == "Reply with KoGPT"
    assert report["name"] == "Report"
    assert answer["type"] == report["type"] == 3
    for each in (kogpt, answer, report):
        assert each["integration_types"] == [0, 1]
        assert each["contexts"] == [0, 1, 2]
    assert len(kogpt["options"]) <= 25


async def test_they_are_not_registered_where_nobody_wants_them(make_bot, discord):
    bot = make_bot(commands=False)
    async with bot.running():
        await discord.say("안녕")
        await bot.inbox.wait_for(1)
    assert not discord.calls("PUT", "commands")


async def test_the_bot_talks_though_they_cannot_be_registered(bot, discord):
    discord.fail_once("PUT", "commands", 403)
    async with bot.running():
        await discord.say("안녕")
        await bot.inbox.wait_for(1)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_command_becomes_its_action(bot, discord, kind):
    from kogpt_bot import COMMANDS

    async with bot.running():
        values = {argument.name.en: "값" for argument in COMMANDS[kind].arguments}
        if "level" in values:
            values["level"] = "server"
        known = await discord.interact(COMMAND, slash(COMMANDS[kind].name.en, **values))
        told = await discord.told(known)
    (action,) = bot.inbox.actions
    assert action.kind is kind
    assert action.key == bot.key
    assert action.author.id == discord.person["id"]
    for argument in COMMANDS[kind].arguments:
        expected = ScopeLevel.SERVER if argument.field == "level" else "값"
        assert getattr(action, argument.field) == expected
    assert known["ephemeral"]
    assert render(told["content"]) == "됐어요."


@pytest.mark.parametrize(
    ("permissions", "level", "manager"),
    [
        (0, "channel", False),
        (MANAGE_CHANNELS, "channel", True),
        (MANAGE_GUILD, "channel", False),
        (MANAGE_CHANNELS, "server", False),
        (MANAGE_GUILD, "server", True),
    ],
)
async def test_rights_are_those_of_the_moment(bot, discord, permissions, level, manager):
    async with bot.running():
        data = slash("set", name="stream", value="false", level=level)
        await discord.told(await discord.interact(COMMAND, data, permissions=permissions))
    assert bot.inbox.actions[0].manager is manager


async def test_a_direct_chat_is_its_persons_own(bot, discord):
    async with bot.running():
        private = discord.world.dm(discord.person)
        await discord.told(await discord.interact(COMMAND, slash("clear"), channel=private))
    (action,) = bot.inbox.actions
    assert action.direct
    assert not action.manager
    assert action.key == ChannelKey("discord", private["id"])


async def test_what_is_said_with_the_command_is_shown_and_answered(bot, discord):
    async with bot.running():
        known = await discord.interact(COMMAND, slash("chat", message="@everyone 뭐 해?"))
        (message,) = await bot.inbox.wait_for(1)
        id_ = await bot.adapter.send(bot.key, Outgoing("놀아요", message.message_id))
    shown, answer = discord.shown()
    assert render(shown["content"]) == "«line»@everyone 뭐 해?"
    assert message.message_id == shown["id"]
    assert message.mentions_bot
    assert message.text == "@everyone 뭐 해?"
    assert known["response"]["data"]["allowed_mentions"]["parse"] == []
    assert answer["id"] == id_
    assert answer["message_reference"]["message_id"] == shown["id"]


@pytest.mark.parametrize(
    ("error", "words"),
    [(Refused("너무 길어요."), "너무 길어요."), (StoreError("full"), "저장할 수 없어요")],
)
async def test_a_refusal_is_told_to_who_asked(bot, discord, error, words):
    bot.inbox.failures = [error]
    async with bot.running():
        known = await discord.interact(COMMAND, slash("chat", message="안녕"))
        await discord.gateway.wait_until(lambda: len(known["shown"]) == 2)
    assert words in list(known["shown"].values())[1]["content"]
    assert len(discord.texts()) == 1  # only the question is seen by all


async def test_a_command_that_a_person_installed_is_answered_by_its_token(bot, discord):
    elsewhere = {**discord.channel, "id": discord.world.id(), "guild_id": discord.world.id()}
    async with bot.running():
        known = await discord.interact(
            COMMAND, slash("chat", message="안녕"), channel=elsewhere, foreign=True
        )
        (message,) = await bot.inbox.wait_for(1)
        key = message.key
        assert key == ChannelKey("discord", elsewhere["id"], elsewhere["guild_id"])
        assert not bot.adapter.capabilities_in(key).idempotent_send
        await bot.adapter.typing(key)
        first = await bot.adapter.send(key, Outgoing("안", message.message_id, final=False))
        await bot.adapter.edit(key, first, Outgoing("안녕하세요"))
        second = await bot.adapter.send(key, Outgoing("둘째"))
        shown = [render(each["content"]) for each in known["shown"].values()]
        assert shown == ["안녕하세요", "둘째"]
        assert known["original"]["id"] == first
        await bot.adapter.delete(key, second)
        assert list(known["shown"]) == [first]
    assert known["response"] == {"type": 5, "data": {}}
    assert not discord.calls("POST", f"channels/{elsewhere['id']}/")


@pytest.fixture
def elsewhere(discord):
    """A channel of a server in which the bot is not."""
    return {**discord.channel, "id": discord.world.id(), "guild_id": discord.world.id()}


async def test_a_menu_that_a_person_installed_answers_there_too(bot, discord, elsewhere):
    discord.world._add(elsewhere)
    old = discord.world.message(elsewhere, discord.world.user("영희"), "점심 뭐 먹지?")
    async with bot.running():
        known = await discord.interact(
            COMMAND, menu("Reply with KoGPT", old), channel=elsewhere, foreign=True
        )
        await discord.told(known)
        (message,) = bot.inbox.messages
        assert message.author.name == "영희"
        await bot.adapter.send(message.key, Outgoing("국수요", message.message_id))
    assert [render(each["content"]) for each in known["shown"].values()][1:] == ["국수요"]


async def test_a_button_elsewhere_gives_leave_to_answer_anew(bot, discord, elsewhere):
    async with bot.running():
        known = await discord.interact(
            COMMAND, slash("chat", message="안녕"), channel=elsewhere, foreign=True
        )
        (message,) = await bot.inbox.wait_for(1)
        first = await bot.adapter.send(
            message.key,
            Outgoing("안녕", message.message_id, offers=(ActionKind.REGENERATE,)),
        )
        again = type(bot)(discord)  # after a restart, the first leave is forgotten
        again.inbox = bot.inbox
    async with again.running():
        press_ = press("kogpt:do:regenerate:")
        pressed = await discord.interact(
            COMPONENT, press_, channel=elsewhere, foreign=True, message=known["original"]
        )
        pressed["shown"][first] = known["original"]
        await bot.until(lambda: bot.inbox.actions)
        await discord.gateway.wait_until(lambda: len(pressed["shown"]) > 1)
        await again.adapter.delete(message.key, first)
        await again.adapter.send(message.key, Outgoing("또 안녕", message.message_id))
    texts = [render(each["content"]) for each in pressed["shown"].values()]
    assert first not in pressed["shown"]
    assert texts == ["됐어요.", "또 안녕"]


async def test_where_the_bot_may_not_write_it_answers_commands_all_the_same(bot, discord):
    async with bot.running():
        known = await discord.interact(
            COMMAND, slash("chat", message="안녕"), app_permissions=1 << 10
        )
        (message,) = await bot.inbox.wait_for(1)
        await bot.adapter.send(bot.key, Outgoing("안녕", message.message_id))
    assert known["response"]["type"] == 5
    assert render(known["original"]["content"]) == "안녕"


async def test_a_private_channel_of_others_is_not_direct(bot, discord):
    group = discord.world.dm(discord.world.user("영희"))
    async with bot.running():
        data = slash("chat", message="안녕")
        await discord.interact(COMMAND, data, channel=group, foreign=True)
        (message,) = await bot.inbox.wait_for(1)
    assert not message.direct


async def test_buttons_become_actions_and_the_answer_is_for_one_person(bot, discord):
    async with bot.running():
        id_ = await bot.adapter.send(bot.key, Outgoing("가", offers=(ActionKind.GOOD,)))
        (button,) = discord.shown()[0]["components"][0]["components"]
        again = type(bot)(discord)  # the bot was restarted
        again.inbox = bot.inbox
    async with again.running():
        known = await discord.interact(
            COMPONENT, press(button["custom_id"]), message=discord.shown()[0]
        )
        await discord.gateway.wait_until(lambda: known["shown"])
    (action,) = bot.inbox.actions
    assert (action.kind, action.message_id) == (ActionKind.GOOD, id_)
    assert known["response"]["type"] == 6
    (call,) = discord.calls("POST", "webhooks/")
    assert call.body["flags"] & 64
    assert len(discord.texts()) == 1


async def test_a_finding_is_judged_by_its_button(bot, discord):
    async with bot.running():
        offers = (ActionKind.HIT_RIGHT, ActionKind.HIT_WRONG)
        await bot.adapter.send(bot.key, Outgoing("탐지", offers=offers, subject="17"))
        button = discord.shown()[0]["components"][0]["components"][1]
        await discord.interact(COMPONENT, press(button["custom_id"]), message=discord.shown()[0])
        await bot.until(lambda: bot.inbox.actions)
    assert bot.inbox.actions[0].kind is ActionKind.HIT_WRONG
    assert bot.inbox.actions[0].subject == "17"


async def test_who_may_delete_messages_may_delete_answers(bot, discord):
    async with bot.running():
        await bot.adapter.send(bot.key, Outgoing("가", offers=(ActionKind.DELETE,)))
        (button,) = discord.shown()[0]["components"][0]["components"]
        for permissions in (0, 1 << 13):
            await discord.interact(
                COMPONENT, press(button["custom_id"]), message=discord.shown()[0],
                permissions=permissions,
            )  # fmt: skip
            await asyncio.sleep(0.05)
        await bot.until(lambda: len(bot.inbox.actions) == 2)
    assert [action.manager for action in bot.inbox.actions] == [False, True]


async def test_the_menu_answers_a_message_that_was_said_before_the_bot_came(bot, discord):
    async with bot.running():
        old = discord.world.message(discord.channel, discord.person, "점심 뭐 먹지?")
        known = await discord.interact(COMMAND, menu("Reply with KoGPT", old))
        await discord.told(known)
    (message,) = bot.inbox.messages
    assert message.message_id == old["id"]
    (action,) = bot.inbox.actions
    assert (action.kind, action.message_id) == (ActionKind.ANSWER, old["id"])


async def test_the_menu_does_not_answer_the_bot_itself_or_nothing(bot, discord):
    async with bot.running():
        own = discord.world.message(discord.channel, discord.world.bot, "내 말")
        empty = discord.world.message(discord.channel, discord.person, "")
        for message in (own, empty):
            told = await discord.told(
                await discord.interact(COMMAND, menu("Reply with KoGPT", message))
            )
            assert "답할 말이 없는" in told["content"]
    assert not bot.inbox.actions


async def test_a_report_asks_why_first(bot, discord):
    async with bot.running():
        answer = discord.world.message(discord.channel, discord.world.bot, "이상한 답")
        known = await discord.interact(COMMAND, menu("Report", answer))
        modal = await discord.responded(known)
        assert modal["type"] == 9
        data = typed(modal["data"]["custom_id"], "욕을 해요")
        await discord.told(await discord.interact(MODAL, data))
    (action,) = bot.inbox.actions
    assert (action.kind, action.message_id) == (ActionKind.REPORT, answer["id"])
    assert action.value == "욕을 해요"


async def test_only_the_bots_answers_are_reported(bot, discord):
    async with bot.running():
        message = await discord.say("내 말")
        told = await discord.told(await discord.interact(COMMAND, menu("Report", message)))
    assert "제 답만" in told["content"]


async def test_somebody_with_english_is_told_in_english(bot, discord):
    async with bot.running():
        message = await discord.say("내 말")
        known = await discord.interact(COMMAND, menu("Report", message), locale="en-GB")
        assert "Only my own" in (await discord.told(known))["content"]


async def test_settings_are_listed_with_where_they_come_from(bot, discord):
    answer_with(bot, ActionResult(True, "이곳의 설정이에요.", VIEWS))
    async with bot.running():
        known = await discord.interact(COMMAND, slash("settings"))
        told = await discord.told(known)
    assert "sampling.temperature = 0.5  (서버)" in render(told["content"])
    assert not told["components"]


async def panel(bot, discord):
    answer_with(bot, lambda action: ActionResult(True, f"{action.kind.value} 됐어요.", VIEWS))
    known = await discord.interact(COMMAND, slash("settings"), permissions=MANAGE_CHANNELS)
    return await discord.told(known)


def ids(rows):
    return [part["custom_id"] for row in rows for part in row["components"]]


async def choose(discord, message, custom_id, *values, kind=COMPONENT):
    data = press(custom_id, *values)
    known = await discord.interact(kind, data, message=message, permissions=MANAGE_CHANNELS)
    return await discord.responded(known)


async def test_the_panel_sets_a_value_from_few_by_a_menu(bot, discord):
    async with bot.running():
        told = await panel(bot, discord)
        level, first, second = ids(told["components"])
        assert len(told["components"][1]["components"][0]["options"]) == 25
        assert (first, second) == ("kogpt:pick:channel:0", "kogpt:pick:channel:1")
        response = await choose(discord, told, level, "server")
        assert ids(response["data"]["components"])[1] == "kogpt:pick:server:0"
        response = await choose(discord, told, "kogpt:pick:server:0", "persona")
        assert response["type"] == 7
        assert "persona = default" in render(response["data"]["content"])
        value = ids(response["data"]["components"])[0]
        response = await choose(discord, told, value, "poet")
    action = next(a for a in bot.inbox.actions if a.kind is ActionKind.SET)
    assert (action.name, action.value, action.level) == ("persona", "poet", ScopeLevel.SERVER)
    assert not action.manager  # the person manages the channel, not the server
    assert "set 됐어요." in render(response["data"]["content"])


async def test_the_panel_sets_any_other_value_by_a_modal(bot, discord):
    async with bot.running():
        told = await panel(bot, discord)
        response = await choose(discord, told, "kogpt:pick:channel:0", "sampling.temperature")
        assert response["type"] == 9
        (field,) = response["data"]["components"][0]["components"]
        assert (field["value"], field["placeholder"]) == ("0.5", "0부터 5까지")
        for text in ("0.9", "  "):
            data = typed(response["data"]["custom_id"], text)
            known = await discord.interact(MODAL, data, message=told, permissions=MANAGE_CHANNELS)
            assert (await discord.responded(known))["type"] == 7
    changes = [a for a in bot.inbox.actions if a.kind in (ActionKind.SET, ActionKind.RESET)]
    assert [(a.kind, a.name) for a in changes] == [
        (ActionKind.SET, "sampling.temperature"), (ActionKind.RESET, "sampling.temperature")
    ]  # fmt: skip
    assert changes[0].value == "0.9"
    assert all(a.manager for a in changes)


async def test_the_panel_resets_and_goes_back(bot, discord):
    async with bot.running():
        told = await panel(bot, discord)
        response = await choose(discord, told, "kogpt:pick:channel:0", "persona")
        _, reset, back = ids(response["data"]["components"])
        assert (await choose(discord, told, back))["type"] == 7
        await choose(discord, told, reset)
    assert [a.kind for a in bot.inbox.actions][-2:] == [ActionKind.RESET, ActionKind.SETTINGS]


async def test_in_a_thread_the_panel_offers_the_thread(bot, discord):
    thread = discord.world.thread(discord.channel, "이야기", discord.person)
    answer_with(bot, ActionResult(True, "설정", VIEWS))
    async with bot.running():
        known = await discord.interact(
            COMMAND, slash("settings"), channel=thread, permissions=MANAGE_CHANNELS
        )
        told = await discord.told(known)
    levels = told["components"][0]["components"][0]["options"]
    assert [each["value"] for each in levels] == ["channel", "server", "thread"]
    assert [each["default"] for each in levels] == [False, False, True]


async def test_an_export_is_a_file_for_one_person(bot, discord):
    answer_with(bot, ActionResult(True, "자료예요.", attachment=Attachment("me.json", b"{}")))
    async with bot.running():
        known = await discord.interact(COMMAND, slash("export"))
        await discord.gateway.wait_until(lambda: known.get("files"))
    assert known["files"] == {"me.json": b"{}"}
    assert known["ephemeral"]


async def test_a_file_that_is_too_large_is_said(bot, discord):
    file = Attachment("me.json", b" " * 11_000_000)
    answer_with(bot, ActionResult(True, "자료예요.", attachment=file))
    async with bot.running():
        told = await discord.told(await discord.interact(COMMAND, slash("export")))
    assert "너무 커서" in told["content"]


async def test_a_long_text_is_told_in_parts(bot, discord):
    lines = "\n".join(f"• 줄 {number} " + "가" * 90 for number in range(40))
    answer_with(bot, ActionResult(True, lines))
    async with bot.running():
        known = await discord.interact(COMMAND, slash("help"))
        await discord.gateway.wait_until(lambda: len(known["shown"]) == 2)
    assert "\n".join(render(each["content"]) for each in known["shown"].values()) == lines


async def test_a_thread_is_opened_on_request(bot, discord):
    async with bot.running():
        known = await discord.interact(COMMAND, slash("thread", title="점심 이야기"))
        told = await discord.told(known)
        thread = next(c for c in discord.world.channels.values() if c["name"] == "점심 이야기")
        assert f"<#{thread['id']}>" in told["content"]
        await discord.say("국수 먹자", channel=thread)
        (message,) = await bot.inbox.wait_for(1)
    assert message.key.thread == thread["id"]
    assert message.replies_to_bot
    assert discord.calls("PUT", f"{thread['id']}/thread-members/{discord.person['id']}")


async def test_a_thread_cannot_be_opened_everywhere(bot, discord):
    private = discord.world.dm(discord.person)
    async with bot.running():
        known = await discord.interact(COMMAND, slash("thread"), channel=private)
        assert "만들 수 없어요" in (await discord.told(known))["content"]
        discord.rest.forbidden.add(discord.channel["id"])
        known = await discord.interact(COMMAND, slash("thread"))
        assert "권한이 없어요" in (await discord.told(known))["content"]


async def test_who_is_blocked_is_told_so(make_bot, discord):
    bot = make_bot(block=Places(users=(discord.person["id"],)))
    async with bot.running():
        told = await discord.told(await discord.interact(COMMAND, slash("help")))
    assert "쓸 수 없어요" in told["content"]
    assert not bot.inbox.actions


async def test_a_fault_of_ours_is_told_without_a_word_of_it(bot, discord):
    def fail(action):
        raise RuntimeError("secret detail")

    answer_with(bot, fail)
    async with bot.running():
        told = await discord.told(await discord.interact(COMMAND, slash("status")))
    assert told["content"] == "지금은 할 수 없어요. 잠시 후 다시 해 주세요."


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_response_that_breaks_off_is_tried_once_more(bot, discord, arrived):
    from aiohttp import web

    class Broken(web.Response):
        async def prepare(self, request):
            if arrived:
                known["response"] = {"type": 5}
                known["ephemeral"] = True
            request.transport.abort()
            raise ConnectionResetError

    async with bot.running():
        discord.fault("POST", "interactions/", Broken)
        known = await discord.interact(COMMAND, slash("status"))
        told = await discord.told(known)
    assert told["content"] == "됐어요."
    assert len(bot.inbox.actions) == 1


@pytest.mark.parametrize("custom_id", ["other:bot", "kogpt:do:dance:", "kogpt:pick:moon:x"])
async def test_a_button_of_another_time_is_told(bot, discord, custom_id):
    async with bot.running():
        message = discord.world.message(discord.channel, discord.world.bot, "옛 답")
        known = await discord.interact(COMPONENT, press(custom_id), message=message)
        told = await discord.told(known)
    assert "쓸 수 없어요" in told["content"]
