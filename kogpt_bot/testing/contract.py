"""The contract that every adapter keeps, as a pytest class to inherit from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pytest

from kogpt_bot.adapter import Adapter, LengthUnit
from kogpt_bot.errors import AdapterError, Gone, Malformed, Refused, StoreError
from kogpt_bot.messages import ActionKind, ChannelKey, Outgoing
from kogpt_bot.testing.fakes import RecordingInbox

PATIENCE_S = 10.0  # how long a test waits for what should happen at once


@dataclass(frozen=True, slots=True)
class Seen:
    """One message of the bot's as people see it."""

    message_id: str
    text: str


class Harness(Protocol):
    """An adapter with a (fake) platform around it, in which the test plays the people."""

    @property
    def adapter(self) -> Adapter:
        """A fresh adapter that has not been run."""
        ...

    @property
    def key(self) -> ChannelKey:
        """A channel in which a person speaks; it exists once the adapter runs."""
        ...

    async def say(self, text: str) -> None:
        """Let a person write `text` in the channel; returns when the platform has taken it."""
        ...

    async def seen(self) -> list[Seen]:
        """Return the bot's messages in the channel as people see them now."""
        ...

    async def told(self) -> list[str]:
        """Return what the person was told when a message of theirs was refused."""
        ...


@runtime_checkable
class Pressing(Protocol):
    """What a harness has besides, where the platform has buttons; without it they go untested."""

    async def press(self, message_id: str, kind: ActionKind) -> None:
        """Let a person press the button of `kind` under the bot's message.

        LookupError where the message has no such button.
        """
        ...


TRICKY_TEXTS = [
    "안녕하세요",
    "두 줄\n이에요",
    "👩‍👩‍👧 가족 🇰🇷",
    "<b>굵게</b> & **별** _밑줄_ `코드`",
    "@everyone @here <@123> https://example.com",
    "[링크](https://example.com) ||숨김|| # 제목",
]


class AdapterContract:
    """Inherit, and give a `harness` fixture; each test gets a new one."""

    @pytest.fixture
    def harness(self) -> Harness:
        """Give the adapter under test; every subclass does."""
        raise NotImplementedError("the contract needs a harness fixture")

    @asynccontextmanager
    async def running(self, harness: Harness) -> AsyncIterator[RecordingInbox]:
        """Run the adapter against an inbox that records, and stop it again."""
        inbox = RecordingInbox()
        task = asyncio.create_task(harness.adapter.run(inbox))
        try:
            yield inbox
            await harness.adapter.stop()
            await asyncio.wait_for(task, PATIENCE_S)
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def test_capabilities_make_sense(self, harness: Harness) -> None:
        """The core's policy rests on them."""
        capabilities = harness.adapter.capabilities
        assert capabilities.max_length >= 100
        assert capabilities.min_edit_interval_s > 0
        assert capabilities.typing_lasts_s > 0
        assert harness.adapter.capabilities_in(harness.key).length_unit is capabilities.length_unit
        assert harness.adapter.name == harness.key.adapter

    @pytest.mark.parametrize("text", TRICKY_TEXTS)
    async def test_what_a_person_writes_arrives_as_it_was_written(
        self, harness: Harness, text: str
    ) -> None:
        """Nothing is lost or interpreted on the way in."""
        async with self.running(harness) as inbox:
            await harness.say(text)
            (message,) = await inbox.wait_for(1)
        assert message.text == text
        assert message.key == harness.key
        assert message.author.id
        assert message.author.name
        assert not message.author.is_bot

    async def test_messages_arrive_in_order_with_ids_of_their_own(self, harness: Harness) -> None:
        """Ids are what the inbox tells a second delivery by."""
        async with self.running(harness) as inbox:
            for number in range(5):
                await harness.say(f"{number}번")
            messages = await inbox.wait_for(5)
        assert [message.text for message in messages] == [f"{number}번" for number in range(5)]
        assert len({message.message_id for message in messages}) == 5

    @pytest.mark.parametrize("text", TRICKY_TEXTS)
    async def test_what_the_bot_sends_is_seen_as_it_is(self, harness: Harness, text: str) -> None:
        """No markup in a generated text takes effect."""
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            id_ = await harness.adapter.send(harness.key, Outgoing(text))
            assert await harness.seen() == [Seen(id_, text)]

    async def test_edits_replace_and_deletes_remove(self, harness: Harness) -> None:
        """Where the adapter says that it can."""
        adapter = harness.adapter
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            id_ = await adapter.send(harness.key, Outgoing("처음", final=False))
            shown = "처음"
            if adapter.capabilities.edits:
                await adapter.edit(harness.key, id_, Outgoing("나중"))
                shown = "나중"
            assert [seen.text for seen in await harness.seen()] == [shown]
            if adapter.capabilities.deletes:
                await adapter.delete(harness.key, id_)
                assert await harness.seen() == []
                await adapter.delete(harness.key, id_)  # already gone is fine

    async def test_editing_what_is_gone_says_so(self, harness: Harness) -> None:
        """The core then stops editing it."""
        if not harness.adapter.capabilities.edits:
            pytest.skip("the adapter does not edit")
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            with pytest.raises(Gone):
                await harness.adapter.edit(harness.key, "no-such-message", Outgoing("글"))

    async def test_the_longest_message_is_taken_and_a_longer_one_refused(
        self, harness: Harness
    ) -> None:
        """The core splits by the capabilities, so they must be true."""
        capabilities = harness.adapter.capabilities
        utf16 = capabilities.length_unit is LengthUnit.UTF16_UNITS
        character = "😀" if utf16 else "가"
        count = capabilities.max_length // 2 if utf16 else capabilities.max_length
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            await harness.adapter.send(harness.key, Outgoing(character * count))
            assert [seen.text for seen in await harness.seen()] == [character * count]
            with pytest.raises(Malformed):
                await harness.adapter.send(harness.key, Outgoing(character * (count + 1)))

    async def test_a_repeated_nonce_shows_once(self, harness: Harness) -> None:
        """Where the adapter says that a send can be repeated."""
        if not harness.adapter.capabilities.idempotent_send:
            pytest.skip("the platform has no key for sends")
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            first = await harness.adapter.send(harness.key, Outgoing("한 번", nonce="n1"))
            assert await harness.adapter.send(harness.key, Outgoing("한 번", nonce="n1")) == first
            await harness.adapter.send(harness.key, Outgoing("한 번", nonce="n2"))
            assert len(await harness.seen()) == 2

    async def test_buttons_become_actions(self, harness: Harness) -> None:
        """Each one that is offered says what, where, who, and about which message."""
        press = self._press(harness)
        offers = (ActionKind.REGENERATE, ActionKind.GOOD, ActionKind.BAD, ActionKind.DELETE)
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            id_ = await harness.adapter.send(harness.key, Outgoing("답", offers=offers))
            for kind in offers:
                await press(id_, kind)
        assert [action.kind for action in inbox.actions] == list(offers)
        for action in inbox.actions:
            assert action.key == harness.key
            assert action.message_id == id_
            assert action.author == inbox.messages[0].author
            assert action.at.tzinfo is not None

    async def test_an_edit_replaces_the_buttons(self, harness: Harness) -> None:
        """Stop goes when the answer is done; no message keeps a button that it does not offer."""
        press = self._press(harness)
        if not harness.adapter.capabilities.edits:
            pytest.skip("the adapter does not edit")
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            begun = Outgoing("처음", final=False, offers=(ActionKind.STOP,))
            id_ = await harness.adapter.send(harness.key, begun)
            await press(id_, ActionKind.STOP)
            done = Outgoing("처음부터 끝까지", offers=(ActionKind.REGENERATE,))
            await harness.adapter.edit(harness.key, id_, done)
            await press(id_, ActionKind.REGENERATE)
            with pytest.raises(LookupError):
                await press(id_, ActionKind.STOP)
        assert [each.kind for each in inbox.actions] == [ActionKind.STOP, ActionKind.REGENERATE]

    def _press(self, harness: Harness) -> Callable[[str, ActionKind], Awaitable[None]]:
        """Return the harness's hook; the test is skipped where there is nothing to press."""
        if not harness.adapter.capabilities_in(harness.key).buttons:
            pytest.skip("the platform has no buttons")
        if not isinstance(harness, Pressing):
            pytest.skip("the harness has no press")
        return harness.press

    async def test_typing_raises_nothing(self, harness: Harness) -> None:
        """It is called before every answer."""
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            await harness.adapter.typing(harness.key)

    async def test_an_unknown_channel_is_an_adapter_error(self, harness: Harness) -> None:
        """Channels vanish while an answer is written."""
        nowhere = ChannelKey(harness.adapter.name, "000000000000000000")
        async with self.running(harness):
            with pytest.raises(AdapterError):
                await harness.adapter.send(nowhere, Outgoing("글"))

    async def test_a_person_is_told_why_a_message_was_refused(self, harness: Harness) -> None:
        """And the adapter goes on."""
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            inbox.failures.append(Refused("메시지가 너무 길어요."))
            await harness.say("아주 긴 글")
            async with asyncio.timeout(PATIENCE_S):
                while not any("메시지가 너무 길어요." in text for text in await harness.told()):
                    await asyncio.sleep(0.01)
            await harness.say("다음")
            await inbox.wait_for(2)

    async def test_a_store_that_fails_does_not_end_the_adapter(self, harness: Harness) -> None:
        """The message is not acknowledged; the next one is heard."""
        async with self.running(harness) as inbox:
            await self.open_channel(harness, inbox)
            inbox.failures.append(StoreError("the disk is full"))
            await harness.say("잃어버릴 글")
            await harness.say("다음")
            await inbox.wait_for(2)

    async def test_stop_before_run_and_twice(self, harness: Harness) -> None:
        """The core stops whatever it has made, in whatever state it is."""
        await harness.adapter.stop()
        await harness.adapter.stop()
        await asyncio.wait_for(harness.adapter.run(RecordingInbox()), PATIENCE_S)

    async def test_cancelling_run_ends_it(self, harness: Harness) -> None:
        """Without waiting for anything."""
        task = asyncio.create_task(harness.adapter.run(RecordingInbox()))
        await asyncio.sleep(0.05)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
        assert task in done

    async def open_channel(self, harness: Harness, inbox: RecordingInbox) -> None:
        """Let a person speak first, as on every platform."""
        await harness.say("안녕")
        await inbox.wait_for(1)
