"""Settings by command: shown with their source, checked, kept, and in effect at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.commands import allowed
from kogpt_bot.conversation.persona import Persona
from kogpt_bot.conversation.setting_values import parse_value
from kogpt_bot.conversation.settings import (
    KEYS,
    ChannelSettings,
    Language,
    SettingsLayers,
    flatten,
)
from kogpt_bot.messages import ActionKind, Author, ChannelKey, ScopeLevel
from tests.fakes.core import PERSON, running

POET = {"poet": Persona(name="시인", description="시인은 짧은 시로 답한다.", examples=())}
GUILD = ChannelKey("fake", "c1", guild="g1")
THREAD = ChannelKey("fake", "c1", guild="g1", thread="t1")
OTHER = Author("u2", "지은")


async def test_every_setting_is_listed_with_its_source(store):
    layers = SettingsLayers({"": {"stream": False}, "fake": {"sampling.top_k": 7}})
    async with running(store, layers=layers, personas=POET) as core:
        await core.act(ActionKind.SET, name="sampling.temperature", value="0.9")
        result = await core.act(ActionKind.SETTINGS)
        views = {view.name: view for view in result.settings}
        assert set(views) == set(KEYS)
        assert (views["stream"].value, views["stream"].source) == ("끄기", "설정 파일 (모든 곳)")
        assert views["sampling.top_k"].source == "설정 파일 (이 플랫폼)"
        assert views["sampling.temperature"].source == "명령으로 바꿈 (이 채널)"
        assert views["sampling.top_p"].source == "기본값"
        assert views["sampling.top_p"].allowed == "0보다 크고 1 이하인 숫자"
        assert views["persona"].choices == ("default", "poet")
        assert views["language"].choices == ("ko", "en")
        for name in ("stream = 끄기", "sampling.top_k = 7", "sampling.temperature = 0.9"):
            assert name in result.text


async def test_a_change_takes_effect_for_the_next_message_and_outlives_a_restart(store):
    async with running(store) as core:
        result = await core.act(ActionKind.SET, name="sampling.max_new_tokens", value="9")
        assert result.done
        assert result.text == (
            "sampling.max_new_tokens를 9로 바꿨어요(이 채널). 다음 메시지부터 적용돼요."
        )
        await core.adapter.say("안녕")
        await core.settle(replied=1)
        assert core.model.asks[0].sampling.max_new_tokens == 9
    assert await store.settings.all() == {"fake/-/room": {"sampling.max_new_tokens": 9}}
    (change,) = await store.settings.changes("fake/-/room")
    assert (change.old, change.new) == (None, 9)
    assert change.changed_by == core.pseudonyms.person("fake", PERSON.id)
    assert PERSON.id not in change.changed_by


async def test_a_change_stays_in_its_channel(store):
    async with running(store) as core:
        await core.act(ActionKind.SET, name="stream", value="off")
        assert core.book.effective(ChannelKey("fake", "other")).settings.stream
        assert not core.book.effective(ChannelKey("fake", "room")).settings.stream


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sampling.temperature", "9", "0부터 5까지의 숫자"),
        ("sampling.temperature", "뜨겁게", "“뜨겁게”는 쓸 수 없어요"),
        ("sampling.top_k", "1.5", "정수"),
        ("stream", "글쎄", "켜기 또는 끄기"),
        ("language", "fr", "ko, en"),
        ("persona", "없는사람", "default"),
        ("context.max_tokens", "3", "64 이상인 정수 또는 없음"),
        ("sampling.temprature", "1", "혹시 sampling.temperature?"),
        ("", "1", "이름을 알려 주세요"),
        ("x" * 500, "1", "..."),
    ],
)
async def test_a_wrong_value_is_refused_in_one_line_and_nothing_changes(store, name, value, words):
    async with running(store) as core:
        result = await core.act(ActionKind.SET, name=name, value=value)
        assert not result.done
        assert words in result.text
        assert "\n" not in result.text
        assert len(result.text) < 300
    assert await store.settings.all() == {}


async def test_reset_one_and_all(store):
    async with running(store) as core:
        for name, value in (("stream", "off"), ("buttons", "off"), ("language", "en")):
            await core.act(ActionKind.SET, name=name, value=value)
        await core.act(ActionKind.SET, name="language", value="ko")
        result = await core.act(ActionKind.RESET, name="stream")
        assert result.text == "stream을 되돌렸어요(이 채널). 이제 켜기: 기본값"
        again = await core.act(ActionKind.RESET, name="stream")
        assert (again.done, again.text) == (
            False,
            "여기에서 명령으로 바꾼 설정이 아니에요(이 채널).",
        )
        result = await core.act(ActionKind.RESET)
        assert result.text == "설정 2개를 되돌렸어요(이 채널)."
    assert await store.settings.all() == {}
    assert len(await store.settings.changes("fake/-/room")) == 7


async def test_who_does_not_manage_changes_nothing(store):
    async with running(store) as core:
        for kind in (ActionKind.SET, ActionKind.RESET, ActionKind.PERSONA, ActionKind.CLEAR):
            result = await core.act(
                kind, key=GUILD, direct=False, author=OTHER, name="stream", value="default"
            )
            assert not result.done
            assert result.text == "이 채널을 관리하는 분만 할 수 있어요."
        shown = await core.act(ActionKind.PERSONA, key=GUILD, direct=False, author=OTHER)
        assert shown.done
    assert await store.settings.all() == {}


@pytest.mark.parametrize(
    ("level", "key", "scope"),
    [
        (ScopeLevel.SERVER, GUILD, "fake/g1"),
        (ScopeLevel.CHANNEL, GUILD, "fake/g1/c1"),
        (ScopeLevel.CHANNEL, THREAD, "fake/g1/c1"),
        (ScopeLevel.THREAD, THREAD, "fake/g1/c1/t1"),
    ],
)
async def test_a_manager_sets_at_each_level(store, level, key, scope):
    async with running(store) as core:
        result = await core.act(
            ActionKind.SET, key=key, direct=False, manager=True, level=level,
            name="stream", value="끄기",
        )  # fmt: skip
        assert result.done, result.text
        assert not core.book.effective(key).settings.stream
    assert await store.settings.all() == {scope: {"stream": False}}


@pytest.mark.parametrize(
    ("level", "words"),
    [(ScopeLevel.SERVER, "서버가 아니에요"), (ScopeLevel.THREAD, "스레드가 아니에요")],
)
async def test_a_level_that_is_not_there_is_refused(store, level, words):
    async with running(store) as core:
        result = await core.act(ActionKind.SET, level=level, name="stream", value="off")
        assert not result.done
        assert words in result.text


async def test_only_an_owner_sets_for_the_platform(store):
    wish = {"name": "stream", "value": "off", "level": ScopeLevel.PLATFORM}
    async with running(store, owners={"fake": ("boss",), "other": ("u1",)}) as core:
        refused = await core.act(ActionKind.SET, manager=True, **wish)
        assert (refused.done, refused.text) == (False, "봇의 주인만 할 수 있어요.")
        boss = Author("boss", "주인")
        assert (await core.act(ActionKind.SET, author=boss, **wish)).done
        assert not core.book.effective(ChannelKey("fake", "anywhere")).settings.stream
        core.parts.rights.replace({})
        assert not (await core.act(ActionKind.SET, author=boss, **wish)).done


async def test_a_value_that_a_narrower_one_hides_is_said(store):
    layers = SettingsLayers({"fake/g1/c1": {"sampling.top_k": 5}})
    async with running(store, layers=layers) as core:
        result = await core.act(
            ActionKind.SET, key=GUILD, direct=False, manager=True, level=ScopeLevel.SERVER,
            name="sampling.top_k", value="40",
        )  # fmt: skip
        assert result.done
        assert "더 좁은 범위의 값 5가 적용돼요(설정 파일 (이 채널))" in result.text


async def test_the_persona_by_key_and_by_name(store):
    async with running(store, personas=POET) as core:
        result = await core.act(ActionKind.PERSONA)
        assert result.text.startswith("저는 코코예요. ")
        assert result.text.endswith("고를 수 있는 페르소나: default (코코), poet (시인)")
        for name in ("시인", "poet"):
            result = await core.act(ActionKind.PERSONA, value=name)
            assert (result.done, result.text) == (True, "이제부터 저는 시인이에요.")
        await core.adapter.say("안녕")
        await core.settle(replied=1)
        assert core.model.asks[0].prompt.text.endswith("시인:")
        result = await core.act(ActionKind.PERSONA, value="해적")
        assert not result.done
        assert "“해적”은 없는 페르소나예요." in result.text


async def test_the_language_of_the_channel(store):
    async with running(store, layers=SettingsLayers({"": {"language": "en"}})) as core:
        result = await core.act(ActionKind.SET, name="sampling.top_p", value="0")
        assert result.text == (
            "sampling.top_p cannot be “0”. Allowed: a number above 0 and up to 1"
        )
        result = await core.act(ActionKind.SETTINGS)
        assert {view.source for view in result.settings} == {
            "built in",
            "the file (everywhere)",
        }


async def test_a_person_may_have_a_language_of_their_own(store):
    async with running(store) as core:
        result = await core.act(ActionKind.SETTINGS, language="en")
        assert result.text == "What applies here. Everything is as built in."
        assert result.settings[0].source == "built in"
        assert (await core.act(ActionKind.HELP, language="en")).text.startswith("Hi, I am 코코!")
        assert (await core.act(ActionKind.HELP, language="xx")).text.startswith("안녕하세요")


@pytest.mark.parametrize("language", Language)
def test_what_is_shown_can_be_typed(language):
    for key, value in flatten(ChannelSettings()).items():
        assert parse_value(key, allowed.shown(value, language)) == value
        for choice in allowed.choices(key, language):
            assert allowed.shown(parse_value(key, choice), language) == choice
        assert allowed.allowed(key, language)


WORDS = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=9).filter(
    lambda word: word.casefold() not in ("없음", "none", "null")
)


@given(st.lists(WORDS, max_size=5, unique=True).map(tuple))
def test_lists_can_be_typed_as_they_are_shown(words):
    shown = allowed.shown(words, Language.KO)
    assert parse_value("trigger.wake_words", shown) == words
