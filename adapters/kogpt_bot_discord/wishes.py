"""Commands, buttons, menus and modals become actions; what came of them is told to the person."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import discord
import structlog

from kogpt_bot import (
    COMMANDS,
    ActionKind,
    ActionResult,
    Author,
    Inbox,
    Incoming,
    KogptBotError,
    Refused,
    ScopeLevel,
    StoreError,
)
from kogpt_bot_discord import commands, panel
from kogpt_bot_discord.client import DiscordClient
from kogpt_bot_discord.hearing import Hearing, roles
from kogpt_bot_discord.loans import Loans
from kogpt_bot_discord.markup import escape
from kogpt_bot_discord.payloads import PREFIX, read_button_id
from kogpt_bot_discord.places import Gate, place
from kogpt_bot_discord.reading import incoming
from kogpt_bot_discord.replies import Reply
from kogpt_bot_discord.settings_desk import SettingsDesk
from kogpt_bot_discord.threads import open_thread
from kogpt_bot_discord.wish import Wish, is_member, typed
from kogpt_bot_discord.words import Say

log = structlog.get_logger(__name__)

MAX_AT_ONCE = 500  # more is somebody who hammers a button
TIMEOUT_S = 60.0  # of carrying one out
_REPORT = f"{PREFIX}:report:"
_TYPES = discord.InteractionType
MAX_QUOTE = 1800  # characters of what was said with /kogpt chat


class Wishes:
    """Takes interactions, each in a task of its own."""

    def __init__(
        self, client: DiscordClient, inbox: Inbox, hearing: Hearing, gate: Gate, loans: Loans
    ) -> None:
        self._client = client
        self._inbox = inbox
        self._hearing = hearing
        self._gate = gate
        self._loans = loans
        self._desk = SettingsDesk(inbox)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, interaction: discord.Interaction) -> None:
        """Carry out what somebody wishes; returns at once."""
        if len(self._tasks) >= MAX_AT_ONCE:
            log.warning("discord_too_many_interactions")
            return
        task = asyncio.create_task(self._guarded(interaction), name="discord interaction")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _guarded(self, interaction: discord.Interaction) -> None:
        reply = Reply(self._client.rest, interaction)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._carry_out(interaction, reply)
        except (KogptBotError, TimeoutError) as error:
            log.info("discord_interaction_failed", why=str(error) or "too late")
        except Exception:
            log.exception("discord_interaction_failed")
        else:
            return
        try:
            await reply.tell(Say.FAILED.of(reply.language))
        except KogptBotError as error:
            log.debug("discord_interaction_not_told", why=str(error))

    async def _carry_out(self, interaction: discord.Interaction, reply: Reply) -> None:
        channel = interaction.channel
        if channel is None:
            await reply.tell(Say.NOT_HERE.of(reply.language))
            return
        key = await self._hearing.address(channel.id, interaction.guild_id, channel)
        user = interaction.user
        if not self._gate.admits(key, user.id, roles(user)):
            await reply.tell(Say.NOT_HERE.of(reply.language))
            return
        author = Author(str(user.id), user.display_name, user.bot)
        wish = Wish(interaction, key, author, reply, is_member(interaction))
        handlers: dict[discord.InteractionType, Callable[[Wish], Awaitable[None]]] = {
            _TYPES.application_command: self._command,
            _TYPES.component: self._component,
            _TYPES.modal_submit: self._modal,
        }
        if handler := handlers.get(interaction.type):
            await handler(wish)

    async def _command(self, wish: Wish) -> None:
        data = wish.data
        if data.get("type") == commands.MESSAGE_MENU:
            await self._menu(wish, str(data.get("name")), str(data.get("target_id")))
            return
        part: dict[str, Any] = next(iter(data.get("options") or ()), {})
        said = {each["name"]: str(each["value"]) for each in part.get("options") or ()}
        name = str(part.get("name"))
        if name == commands.CHAT:
            await self._chat(wish, said.get("message", ""))
        elif name == commands.THREAD:
            await open_thread(self._client, wish, said.get("title", ""))
        elif kind := commands.BY_NAME.get(name):
            await self._spoken(wish, kind, said)
        else:
            await wish.reply.tell(Say.NOT_HERE.of(wish.language))

    async def _spoken(self, wish: Wish, kind: ActionKind, said: dict[str, str]) -> None:
        """Carry out one of the core's commands."""
        fields: dict[str, Any] = {}
        for argument in COMMANDS[kind].arguments:
            if (value := said.get(argument.name.en)) is None:
                continue
            fields[argument.field] = ScopeLevel(value) if argument.field == "level" else value
        self._lend(wish)
        await wish.reply.announce()
        result = await self._inbox.act(wish.action(kind, **fields))
        await self._tell(wish, kind, result)

    async def _tell(self, wish: Wish, kind: ActionKind, result: ActionResult) -> None:
        text, components = result.text, None
        if result.settings and kind is ActionKind.SETTINGS:
            text = f"{text}\n{panel.listing(result.settings)}"
            components = self._desk.components(wish, result)
        file = result.attachment
        if file is not None and len(file.content) > wish.interaction.filesize_limit:
            text, file = Say.TOO_LARGE.of(wish.language), None
        await wish.reply.tell(text, components=components, file=file)

    def _lend(self, wish: Wish, *, deferred: bool = False) -> None:
        """Note the leave to speak, where the bot needs one."""
        if not wish.member:
            message = wish.interaction.message
            self._loans.lend(
                place(wish.key),
                wish.reply.token,
                deferred=deferred,
                message_id=str(message.id) if message else "",
            )

    async def _chat(self, wish: Wish, text: str) -> None:
        """Take what is said with the command as a message to the bot.

        Where the bot is a member, what was said is shown, and is then a message like any other.
        Elsewhere the answer takes the place of the announced one.
        """
        if wish.member:
            quote = "\n".join(f"> {escape(line)}" for line in text[:MAX_QUOTE].split("\n"))
            id_ = await wish.reply.say_to_all(quote[:2000]) or str(wish.interaction.id)
        else:
            self._lend(wish, deferred=True)
            await wish.reply.announce(ephemeral=False)
            id_ = str(wish.interaction.id)
        at = wish.interaction.created_at
        message = Incoming(
            wish.key, id_, wish.author, text, at, direct=wish.direct, mentions_bot=True
        )
        if not await self._accept(wish, message) and not wish.member:
            await wish.reply.tell(Say.NOT_HERE.of(wish.language))

    async def _accept(self, wish: Wish, message: Incoming) -> bool:
        """Give a message to the core; returns whether it is answered."""
        try:
            return await self._inbox.accept(message)
        except Refused as refusal:
            await wish.reply.tell(refusal.text)
        except StoreError as error:
            log.warning("discord_message_not_stored", why=str(error))
            await wish.reply.tell(Say.NOT_STORED.of(wish.language))
        return True

    async def _menu(self, wish: Wish, name: str, target_id: str) -> None:
        """Carry out a menu of a message."""
        found = ((wish.data.get("resolved") or {}).get("messages") or {}).get(target_id)
        if name == commands.REPORT_MENU:
            if not found or int(found["author"]["id"]) != self._me.id:
                await wish.reply.tell(Say.NOT_MY_ANSWER.of(wish.language))
                return
            await self._ask_why(wish, target_id)
            return
        self._lend(wish)
        await wish.reply.announce()
        said = self._chosen(wish, found) if found else None
        if said is None:
            await wish.reply.tell(Say.NOTHING_TO_ANSWER.of(wish.language))
            return
        # One that was said before the bot came is not known to the core yet.
        if await self._accept(wish, said):
            await wish.reply.tell(Say.ANSWERING.of(wish.language))
            return
        action = wish.action(ActionKind.ANSWER, message_id=target_id)
        await self._tell(wish, action.kind, await self._inbox.act(action))

    def _chosen(self, wish: Wish, found: dict[str, Any]) -> Incoming | None:
        channel: Any = wish.interaction.channel
        message = discord.Message(state=self._client.state, channel=channel, data=found)  # type: ignore[arg-type]
        said = incoming(message, wish.key, self._me)
        return said if message.author.id != self._me.id else None

    @property
    def _me(self) -> discord.ClientUser:
        return self._hearing.me

    async def _ask_why(self, wish: Wish, message_id: str) -> None:
        await wish.reply.ask(
            f"{_REPORT}{message_id}",
            Say.REPORT.of(wish.language),
            panel.report_field(wish.language),
        )

    async def _component(self, wish: Wish) -> None:
        custom_id = str(wish.data.get("custom_id"))
        if press := panel.read(custom_id):
            await self._desk.press(wish, press)
        elif button := read_button_id(custom_id):
            await self._button(wish, *button)
        else:
            await wish.reply.tell(Say.NOT_HERE.of(wish.language))

    async def _button(self, wish: Wish, kind: ActionKind, subject: str) -> None:
        """Carry out a button under a message."""
        message = wish.interaction.message
        message_id = str(message.id) if message is not None else ""
        if kind is ActionKind.REPORT:
            await self._ask_why(wish, message_id)
            return
        self._lend(wish)
        await wish.reply.keep()
        action = wish.action(kind, message_id=message_id, subject=subject)
        await self._tell(wish, kind, await self._inbox.act(action))

    async def _modal(self, wish: Wish) -> None:
        custom_id, text = str(wish.data.get("custom_id")), typed(wish.data)
        if custom_id.startswith(_REPORT):
            await wish.reply.announce()
            message_id = custom_id.removeprefix(_REPORT)
            action = wish.action(ActionKind.REPORT, message_id=message_id, value=text)
            await self._tell(wish, action.kind, await self._inbox.act(action))
        elif press := panel.read(custom_id):
            kind = ActionKind.SET if text.strip() else ActionKind.RESET
            await self._desk.change(wish, press, kind, text)
