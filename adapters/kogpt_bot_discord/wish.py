"""One interaction, with who wishes what, where, and with which rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import discord

from kogpt_bot import Action, ActionKind, Author, ChannelKey, ScopeLevel
from kogpt_bot_discord.replies import Reply

_TALK = (ActionKind.DELETE, ActionKind.STOP)  # what who may manage messages may do too


@dataclass(frozen=True, slots=True)
class Wish:
    """One interaction with what is needed to carry it out."""

    interaction: discord.Interaction
    key: ChannelKey
    author: Author
    reply: Reply
    member: bool  # the bot is here itself; else it may only answer

    @property
    def language(self) -> str:
        """The language of the person's client."""
        return self.reply.language

    @property
    def data(self) -> dict[str, Any]:
        """What was chosen."""
        return dict(self.interaction.data or {})

    @property
    def direct(self) -> bool:
        """Whether only the person and the bot are here."""
        return not self.key.guild and self.member

    def action(self, kind: ActionKind, **fields: Any) -> Action:
        """Return the action, with the rights that the person has at this moment."""
        level = fields.get("level", ScopeLevel.CHANNEL)
        return Action(
            kind,
            self.key,
            self.author,
            self.interaction.created_at,
            direct=self.direct,
            manager=manages(self.interaction.permissions, kind, level),
            **fields,
        )


def manages(allowed: discord.Permissions, kind: ActionKind, level: ScopeLevel) -> bool:
    """Return whether the permissions of an interaction make a manager for an action."""
    if level is ScopeLevel.SERVER:
        return allowed.manage_guild
    return allowed.manage_channels or (kind in _TALK and allowed.manage_messages)


def is_member(interaction: discord.Interaction) -> bool:
    """Return whether the bot may speak in the channel itself.

    In a server that it is in, or alone with the person; not by a command that a person installed
    for themselves elsewhere, nor in a channel in which it may not write.
    """
    if interaction.guild_id is None:
        return not interaction.context.private_channel
    if interaction.client.get_guild(interaction.guild_id) is None:
        return False
    allowed = interaction.app_permissions
    if not allowed.value:
        return True  # it was not told; the first send shows it
    thread = isinstance(interaction.channel, discord.Thread)
    writes = allowed.send_messages_in_threads if thread else allowed.send_messages
    return allowed.view_channel and writes


def levels(wish: Wish) -> tuple[ScopeLevel, list[ScopeLevel]]:
    """Return the level that a change is first meant for, and all that there are here."""
    found = [ScopeLevel.CHANNEL]
    if wish.key.guild:
        found.append(ScopeLevel.SERVER)
    if wish.key.thread:
        found.append(ScopeLevel.THREAD)
    return found[-1] if wish.key.thread else found[0], found


def typed(data: dict[str, Any]) -> str:
    """Return the text of a modal's one field."""
    for row in data.get("components") or ():
        for part in row.get("components") or ():
            return str(part.get("value") or "")
    return ""
