"""The adapter port for Telegram: what the core says goes out here."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace

from telegram import Bot
from telegram.constants import ChatAction

from kogpt_bot import (
    Capabilities,
    ChannelKey,
    Clock,
    Connection,
    Gone,
    Inbox,
    LengthUnit,
    Malformed,
    Outgoing,
    SystemClock,
)
from kogpt_bot_telegram.api import Api
from kogpt_bot_telegram.buttons import under
from kogpt_bot_telegram.caller import Caller
from kogpt_bot_telegram.errors import NothingNew, UnknownMethod
from kogpt_bot_telegram.heard import NAME
from kogpt_bot_telegram.link import Link
from kogpt_bot_telegram.lock import only_instance
from kogpt_bot_telegram.pace import Pace, Weight
from kogpt_bot_telegram.receiver import Receiver
from kogpt_bot_telegram.rights import standing
from kogpt_bot_telegram.settings import TelegramSettings
from kogpt_bot_telegram.teller import NO_PREVIEW, reply_to
from kogpt_bot_telegram.text import MAX_LENGTH, shield, utf16_length

EDIT_INTERVAL_S = 1.0  # in a private chat: one message a second
GROUP_EDIT_INTERVAL_S = 3.0  # in a group: 20 messages a minute
REMEMBERED = 10_000  # messages whose topic is known, chats that take no drafts


class TelegramAdapter:
    """One bot. It sends also while `run` does not, so that answers can come to their end."""

    name = NAME
    capabilities = Capabilities(
        max_length=MAX_LENGTH,
        length_unit=LengthUnit.UTF16_UNITS,
        edits=True,
        min_edit_interval_s=EDIT_INTERVAL_S,
        deletes=True,
        typing=True,
        typing_lasts_s=5.0,
        buttons=True,
        threads=True,
    )
    _in_private = replace(capabilities, native_drafts=True)
    _in_groups = replace(capabilities, min_edit_interval_s=GROUP_EDIT_INTERVAL_S)

    def __init__(self, settings: TelegramSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._caller = Caller(self._make_api, Pace(self._clock.monotonic))
        self._link = Link()
        self._stop = asyncio.Event()
        self._drafts = settings.drafts
        self._without_drafts: OrderedDict[int, None] = OrderedDict()
        self._threads: OrderedDict[tuple[int, int], int] = OrderedDict()

    def _make_api(self) -> Api:
        return Api(self._settings.token(), self._settings.api_url)

    def capabilities_in(self, key: ChannelKey) -> Capabilities:
        """Return what can be done in a chat: drafts in private ones, edits at a group's pace."""
        chat, _ = _address(key)
        if chat < 0:
            return self._in_groups
        drafts = self._drafts and chat not in self._without_drafts
        return self._in_private if drafts else self.capabilities

    def connection(self) -> Connection:
        """Return how the link to Telegram is."""
        return Connection(self._link.is_up, self._link.detail, self._link.reconnects)

    async def run(self, inbox: Inbox) -> None:
        """Hear and hand on until `stop`; AlreadyRunning where another process has the token."""
        if self._stop.is_set():
            return
        with only_instance(self._settings.token()):
            api = self._make_api()
            self._caller.use(api)
            try:
                receiver = Receiver(
                    api, inbox, self._settings, self._caller, self._link, self._clock
                )
                await receiver.run(self._stop, standing=self._standing, thread_of=self._thread_of)
            finally:
                self._caller.use(None)
                self._link.down("not running")
                await api.close()

    async def stop(self) -> None:
        """Hear nothing more and let `run` return."""
        self._stop.set()

    async def send(self, key: ChannelKey, message: Outgoing) -> str:
        """Send a message; it pings nobody but, in a group, the author of what it answers."""
        chat, thread = _address(key)
        text = _fitting(message)
        # In private it is plain what is answered; in another chat the id means another message.
        answered = int(message.reply_to) if chat < 0 and message.reply_to.isdecimal() else None

        async def work(bot: Bot, place: int) -> int:
            sent = await bot.send_message(
                place,
                text,
                message_thread_id=thread,
                reply_parameters=reply_to(answered) if answered and place == chat else None,
                link_preview_options=NO_PREVIEW,
                reply_markup=under(message),
            )
            return sent.message_id

        id_ = await self._caller.call(chat, work, weight=Weight.MESSAGE)
        if thread is not None:
            self._threads[chat, id_] = thread
            if len(self._threads) > REMEMBERED:
                self._threads.popitem(last=False)
        return str(id_)

    async def edit(self, key: ChannelKey, message_id: str, message: Outgoing) -> None:
        """Change a message; to what it says already, too."""
        chat, _ = _address(key)
        id_, text = _message_id(message_id), _fitting(message)

        async def work(bot: Bot, chat: int) -> None:
            await bot.edit_message_text(
                text,
                chat_id=chat,
                message_id=id_,
                link_preview_options=NO_PREVIEW,
                reply_markup=under(message),
            )

        try:
            weight = Weight.EDIT if message.final else Weight.PASSING_EDIT
            await self._caller.call(chat, work, weight=weight, follow=False)
        except NothingNew:
            return

    async def draft(self, key: ChannelKey, draft_id: int, message: Outgoing) -> None:
        """Show the text so far; Malformed where the chat, or the server, takes no drafts."""
        chat, thread = _address(key)
        text = _fitting(message)

        async def work(bot: Bot, chat: int) -> None:
            await bot.send_message_draft(chat, draft_id, text, message_thread_id=thread)

        try:
            await self._caller.call(chat, work)
        except NothingNew:
            return
        except UnknownMethod:
            self._drafts = False
            raise
        except Malformed:
            self._without_drafts[chat] = None
            if len(self._without_drafts) > REMEMBERED:
                self._without_drafts.popitem(last=False)
            raise

    async def delete(self, key: ChannelKey, message_id: str) -> None:
        """Delete a message; one that is gone is fine."""
        chat, _ = _address(key)
        id_ = _message_id(message_id)

        async def work(bot: Bot, chat: int) -> None:
            await bot.delete_message(chat, id_)

        try:
            await self._caller.call(chat, work, follow=False)
        except Gone:
            return

    async def typing(self, key: ChannelKey) -> None:
        """Show that the bot is writing."""
        chat, thread = _address(key)

        async def work(bot: Bot, chat: int) -> None:
            await bot.send_chat_action(chat, ChatAction.TYPING, message_thread_id=thread)

        await self._caller.call(chat, work)

    async def _standing(self, chat: int, user: int) -> str:
        async def work(bot: Bot, chat: int) -> str:
            return await standing(bot, chat, user)

        return await self._caller.call(chat, work)

    def _thread_of(self, chat: int, message_id: int) -> int | None:
        return self._threads.get((chat, message_id))


def _address(key: ChannelKey) -> tuple[int, int | None]:
    """Return the chat and the topic of a key; Gone for one that is not Telegram's."""
    try:
        return int(key.channel), int(key.thread) if key.thread else None
    except ValueError:
        raise Gone(f"{key} is no chat of Telegram's") from None


def _fitting(message: Outgoing) -> str:
    """Return the text as it is sent; Malformed for one that Telegram would refuse."""
    if utf16_length(message.text) > MAX_LENGTH:
        raise Malformed(f"a message has {MAX_LENGTH} UTF-16 units at most")
    return shield(message.text)


def _message_id(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Gone(f"{text!r} is no message of Telegram's") from None
