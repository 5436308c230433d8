"""What exists on the fake Discord, as JSON: users, servers, channels, threads, messages."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import Any

EPOCH_MS = 1_420_070_400_000  # of Discord's ids
TEXT, DM, PUBLIC_THREAD, FORUM = 0, 1, 11, 15
EVERYTHING = str((1 << 50) - 1)
READ_AND_WRITE = str(1 << 10 | 1 << 11 | 1 << 16)
MANAGE_CHANNELS = 1 << 4
MANAGE_GUILD = 1 << 5
INTENT_FLAGS = 1 << 18  # gateway message content

JSON = dict[str, Any]


class World:
    """Everything that is there. Ids are Discord's: a time and a count."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self.bot = self.user("코코", bot=True)
        self.application_id = self.bot["id"]
        self.application_flags = INTENT_FLAGS
        self.guilds: dict[str, JSON] = {}
        self.channels: dict[str, JSON] = {}  # threads and direct messages too
        self.messages: dict[str, dict[str, JSON]] = {}  # channel -> id -> message
        self.members: dict[tuple[str, str], JSON] = {}

    def id(self, *, at: float | None = None) -> str:
        """Return a new id, of now or of a moment in the past."""
        ms = int((time.time() if at is None else at) * 1000) - EPOCH_MS
        return str((ms << 22) | (next(self._count) & 0x3FFFFF))

    def user(self, name: str, *, bot: bool = False) -> JSON:
        return {
            "id": self.id(),
            "username": f"user{next(self._count)}",
            "global_name": name,
            "discriminator": "0",
            "avatar": None,
            "bot": bot,
            "public_flags": 0,
        }

    def guild(self, name: str = "서버") -> JSON:
        id_ = self.id()
        everyone = self.role("@everyone", id_)
        own = self.role("코코", tags={"bot_id": self.bot["id"]})
        guild: JSON = {
            "id": id_, "name": name, "icon": None, "splash": None, "banner": None,
            "discovery_splash": None, "description": None, "owner_id": self.id(),
            "region": "korea", "afk_channel_id": None, "afk_timeout": 300,
            "verification_level": 0, "default_message_notifications": 0,
            "explicit_content_filter": 0, "roles": [everyone, own], "emojis": [],
            "stickers": [], "features": [], "mfa_level": 0, "system_channel_id": None,
            "system_channel_flags": 0, "rules_channel_id": None, "vanity_url_code": None,
            "premium_tier": 0, "preferred_locale": "ko", "public_updates_channel_id": None,
            "nsfw_level": 0, "premium_progress_bar_enabled": False, "joined_at": now(),
            "large": False, "unavailable": False, "member_count": 2, "voice_states": [],
            "members": [], "channels": [], "threads": [], "presences": [],
            "stage_instances": [], "guild_scheduled_events": [], "soundboard_sounds": [],
            "safety_alerts_channel_id": None, "incidents_data": None,
        }  # fmt: skip
        self.guilds[id_] = guild
        guild["members"].append(self.member(guild, self.bot, roles=[own["id"]]))
        return guild

    def role(self, name: str, id_: str | None = None, **extra: Any) -> JSON:
        return {
            "id": id_ or self.id(), "name": name, "color": 0, "hoist": False, "position": 0,
            "permissions": EVERYTHING, "managed": bool(extra), "mentionable": False,
            "icon": None, "unicode_emoji": None, "flags": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            **extra,
        }  # fmt: skip

    def member(
        self, guild: JSON, user: JSON, *, nick: str | None = None, roles: list[str] | None = None
    ) -> JSON:
        member = {
            "user": user, "nick": nick, "avatar": None, "roles": roles or [],
            "joined_at": now(), "deaf": False, "mute": False, "flags": 0,
        }  # fmt: skip
        self.members[guild["id"], user["id"]] = member
        return member

    def channel(self, guild: JSON, name: str = "잡담", type_: int = TEXT) -> JSON:
        channel = {
            "id": self.id(), "type": type_, "guild_id": guild["id"], "name": name,
            "position": len(guild["channels"]), "permission_overwrites": [], "nsfw": False,
            "topic": None, "last_message_id": None, "rate_limit_per_user": 0,
            "parent_id": None, "flags": 0, "available_tags": [],
        }  # fmt: skip
        guild["channels"].append(channel)
        return self._add(channel)

    def thread(
        self, parent: JSON, name: str, owner: JSON, *, id_: str | None = None, listed: bool = True
    ) -> JSON:
        thread = {
            "id": id_ or self.id(), "type": PUBLIC_THREAD, "guild_id": parent["guild_id"],
            "parent_id": parent["id"], "owner_id": owner["id"], "name": name,
            "last_message_id": None, "rate_limit_per_user": 0, "message_count": 0,
            "member_count": 1, "flags": 0, "total_message_sent": 0,
            "thread_metadata": {
                "archived": False, "auto_archive_duration": 1440, "archive_timestamp": now(),
                "locked": False, "create_timestamp": now(),
            },
        }  # fmt: skip
        if listed:
            self.guilds[parent["guild_id"]]["threads"].append(thread)
        return self._add(thread)

    def dm(self, user: JSON) -> JSON:
        channel = {
            "id": self.id(), "type": DM, "recipients": [user], "last_message_id": None, "flags": 0,
        }  # fmt: skip
        return self._add(channel)

    def _add(self, channel: JSON) -> JSON:
        self.channels[channel["id"]] = channel
        self.messages[channel["id"]] = {}
        return channel

    def message(self, channel: JSON, author: JSON, content: str, **extra: Any) -> JSON:
        """Put a message into a channel and return it."""
        id_ = extra.pop("id", None) or self.id()
        message = {
            "id": id_, "channel_id": channel["id"], "type": 0, "author": author,
            "content": content, "timestamp": now(), "edited_timestamp": None, "tts": False,
            "mention_everyone": False, "mentions": [], "mention_roles": [], "attachments": [],
            "embeds": [], "pinned": False, "flags": 0, "components": [], **extra,
        }  # fmt: skip
        channel["last_message_id"] = id_
        self.messages[channel["id"]][id_] = message
        return message

    def event(self, message: JSON) -> JSON:
        """Return a message as the gateway tells it: with its server and its author's member."""
        guild_id = self.channels[message["channel_id"]].get("guild_id")
        if guild_id is None:
            return message
        told = {**message, "guild_id": guild_id}
        member = self.members.get((guild_id, message["author"]["id"]))
        if member is not None:
            told["member"] = {key: value for key, value in member.items() if key != "user"}
        return told


def now() -> str:
    return datetime.now(UTC).isoformat()
