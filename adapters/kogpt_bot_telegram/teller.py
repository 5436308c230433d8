"""The adapter's own words: what came of a command, why a message was refused.

They are said in the background, so that hearing the next message never waits for a slow send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog
from telegram import (
    Bot,
    CallbackQuery,
    Chat,
    InputFile,
    LinkPreviewOptions,
    Message,
    ReplyParameters,
)

from kogpt_bot import ActionResult, AdapterError, Forbidden, NotSent, RetryAfter
from kogpt_bot_telegram.buttons import Panel
from kogpt_bot_telegram.caller import Caller
from kogpt_bot_telegram.commands import spelled
from kogpt_bot_telegram.pace import Weight
from kogpt_bot_telegram.text import clip, shield

log = structlog.get_logger(__name__)

MAX_WAITING = 256  # of all chats; beyond that, the adapter's own words are left unsaid
ATTEMPTS = 3
LONGEST_WAIT_S = 30.0  # later, nobody knows any more what the answer was to
CALLBACK_CHARS = 200  # that an answer to a button shows, set by Telegram
TOAST_CHARS = 60  # what is longer is shown until it is closed
MAX_CAPTION = 1024  # UTF-16 units
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)

Work = Callable[[Bot, int], Awaitable[object]]


class Teller:
    """Says things, each in a task of its own; `close` ends them."""

    def __init__(
        self, caller: Caller, sleep: Callable[[float], Awaitable[None]], username: str
    ) -> None:
        self._caller = caller
        self._sleep = sleep
        self._username = username  # the bot's own
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self, patience_s: float) -> None:
        """Let what is being said be said, and give up the rest."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def answer(self, message: Message, text: str) -> None:
        """Answer a message in its chat."""
        self.show(message, Panel(clip(shield(spelled(text), commands=False))))

    def show(self, message: Message, panel: Panel) -> None:
        """Answer a message with a text and buttons."""
        self._start(self._send(message, panel))

    def edit(self, chat_id: int, message_id: int, panel: Panel) -> None:
        """Change a message of the adapter's own."""

        async def work(bot: Bot, chat: int) -> object:
            return await bot.edit_message_text(
                panel.text,
                chat_id=chat,
                message_id=message_id,
                reply_markup=panel.keyboard,
                link_preview_options=NO_PREVIEW,
            )

        self._start(self._insist(chat_id, work))

    def remove(self, chat_id: int, message_id: int) -> None:
        """Remove a message of the adapter's own."""

        async def work(bot: Bot, chat: int) -> object:
            return await bot.delete_message(chat, message_id)

        self._start(self._insist(chat_id, work))

    def acknowledge(self, query: CallbackQuery, text: str, *, alert: bool = False) -> None:
        """Answer a button: only who pressed it sees this."""
        shown = clip(spelled(text), CALLBACK_CHARS)

        async def work(bot: Bot, _: int) -> object:
            return await bot.answer_callback_query(
                query.id, shown or None, show_alert=alert or len(shown) > TOAST_CHARS
            )

        self._start(self._insist(query.from_user.id, work))

    def hand_over(self, message: Message, result: ActionResult) -> None:
        """Give a person a file: in their private chat, wherever they asked."""
        self._start(self._hand_over(message, result))

    async def _hand_over(self, message: Message, result: ActionResult) -> None:
        attachment, user = result.attachment, message.from_user
        if attachment is None or user is None:
            return

        async def work(bot: Bot, chat: int) -> object:
            document = InputFile(attachment.content, filename=attachment.name)
            caption = clip(shield(result.text), MAX_CAPTION)
            return await bot.send_document(chat, document, caption=caption)

        try:
            await self._insist(user.id, work, weight=Weight.MESSAGE)
        except Forbidden:  # a bot may not write first
            if message.chat.type == Chat.PRIVATE:
                raise
            text = (
                "파일은 개인 대화로만 보내 드려요. 먼저 저에게 말을 걸어 주세요."
                f" https://t.me/{self._username}\n"
                "Files come in a private chat only: please write to me there first."
            )
            await self._send(message, Panel(text))

    async def _send(self, message: Message, panel: Panel) -> None:
        thread = message.message_thread_id if message.is_topic_message else None
        private = message.chat.type == Chat.PRIVATE

        async def work(bot: Bot, chat: int) -> object:
            return await bot.send_message(
                chat,
                panel.text,
                message_thread_id=thread,
                reply_parameters=None if private else reply_to(message.message_id),
                reply_markup=panel.keyboard,
                link_preview_options=NO_PREVIEW,
            )

        await self._insist(message.chat.id, work, weight=Weight.MESSAGE)

    async def _insist(self, chat: int, work: Work, *, weight: Weight = Weight.NOTHING) -> None:
        """Make a call, again where that can neither be too late nor show it twice."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._caller.call(chat, work, weight=weight)
            except (RetryAfter, NotSent) as error:
                wait = error.seconds if isinstance(error, RetryAfter) else float(attempt)
                if attempt == ATTEMPTS or wait > LONGEST_WAIT_S:
                    raise
                await self._sleep(wait)
            else:
                return

    def _start(self, work: Coroutine[None, None, None]) -> None:
        if len(self._tasks) >= MAX_WAITING:
            work.close()
            log.warning("not_said", why="too much to say at once")
            return

        async def guarded() -> None:
            try:
                await work
            except AdapterError as error:
                log.warning("not_said", why=str(error))

        task = asyncio.create_task(guarded(), name="telegram tells")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def reply_to(message_id: int) -> ReplyParameters:
    """Return what makes a message an answer to another, if that one is still there."""
    return ReplyParameters(message_id, allow_sending_without_reply=True)
