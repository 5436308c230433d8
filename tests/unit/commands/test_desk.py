"""The table of commands, and what holds for all of them."""

from contextlib import asynccontextmanager

import pytest
import structlog

from kogpt_bot.commands.desk import HANDLERS
from kogpt_bot.commands.words import Say
from kogpt_bot.config import Limits
from kogpt_bot.conversation.settings import Language
from kogpt_bot.errors import StoreError
from kogpt_bot.messages import ActionKind, Author, ChannelKey
from tests.fakes.core import running


def test_every_kind_is_carried_out():
    assert set(HANDLERS) == set(ActionKind)


@pytest.mark.parametrize("kind", ActionKind)
async def test_every_kind_answers_in_words_on_an_empty_channel(store, kind):
    async with running(store) as core:
        result = await core.act(kind)
        assert result.text.strip()
        assert "{" not in result.text


@pytest.mark.parametrize("say", Say)
def test_every_sentence_has_the_same_fields_in_both_languages(say):
    import string

    korean, english = (
        {
            name.removesuffix("_object").removesuffix("_subject")
            for _, name, _, _ in string.Formatter().parse(text)
            if name
        }
        for text in say.value
    )
    only_korean = {"topic", "object", "value_to", "is_name", "description", "effective_subject"}
    assert english - korean <= {"name", "value"}
    assert korean - english <= only_korean
    assert Language.KO is not Language.EN


async def test_a_person_who_asks_too_often_is_told_and_others_are_not(store):
    async with running(store, limits=Limits(actions_per_minute=3)) as core:
        results = [await core.act(ActionKind.HELP) for _ in range(4)]
        assert [result.done for result in results] == [True, True, True, False]
        assert results[-1].text == "너무 빨라요. 잠시 후 다시 해 주세요."
        assert (await core.act(ActionKind.HELP, author=Author("u2", "지은"))).done


async def test_a_failing_store_is_said_and_not_raised(store):
    async with running(store) as core:
        await core.adapter.say("안녕")
        await core.settle(replied=1)
        await store.close()

        @asynccontextmanager
        async def broken():
            raise StoreError("the disk is full")
            yield

        store.people._write = broken
        result = await core.act(ActionKind.GOOD)
        assert (result.done, result.text) == (False, "지금은 할 수 없어요. 잠시 후 다시 해 주세요.")


async def test_refused_attempts_are_logged_without_who_it_was(store):
    key = ChannelKey("fake", "1234567890123", guild="9876543210987")
    author = Author("5550001112223334", "지은이에요")
    with structlog.testing.capture_logs() as logs:
        async with running(store) as core:
            await core.act(
                ActionKind.SET, key=key, author=author, direct=False, name="stream", value="off"
            )
    (entry,) = [each for each in logs if each["event"] == "action_not_allowed"]
    assert entry["why"] == "MANAGERS_ONLY"
    said = repr(logs)
    for secret in (author.id, author.name, key.channel, key.guild):
        assert secret not in said
