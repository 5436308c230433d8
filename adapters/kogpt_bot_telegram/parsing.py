"""From JSON to the library's updates, also where a server and the library differ in age.

The library refuses an object that lacks what the newest Bot API requires, and one such object
would hold up every update beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from telegram import Bot, Update

log = structlog.get_logger(__name__)

Json = dict[str, Any]

_MESSAGES = ("message", "edited_message", "channel_post", "edited_channel_post")
# What is heard of a message whose other parts are not understood.
_ESSENTIAL = frozenset(
    {
        "message_id", "date", "edit_date", "chat", "from", "sender_chat", "author_signature",
        "text", "entities", "caption", "caption_entities", "message_thread_id", "is_topic_message",
        "migrate_to_chat_id", "media_group_id",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Received:
    """One update; `update` is None for one that cannot be understood at all."""

    id: int
    update: Update | None


def parse(raw: Json, bot: Bot) -> Received:
    """Return an update from its JSON; KeyError or TypeError for what is none at all."""
    id_ = int(raw["update_id"])
    why = ""
    for reading in _readings(raw):
        try:
            return Received(id_, Update.de_json(reading, bot))
        except Exception as error:  # noqa: BLE001  # whatever a parser stumbles over
            why = repr(error)[:200]
    log.error("update_not_understood", update=id_, why=why)
    return Received(id_, None)


def _readings(raw: Json) -> Iterator[Json]:
    """Give an update as it is, as an older server meant it, and with the essentials only."""
    yield raw
    yield {key: _with_poll(value) for key, value in raw.items()}
    if any(key in raw for key in _MESSAGES):
        log.warning("update_understood_in_part", update=raw["update_id"])
        yield {key: _reduced(value) if key in _MESSAGES else value for key, value in raw.items()}


def _with_poll(message: Any) -> Any:
    """Return a message whose poll has what Bot API 9.6 and 10.0 added."""
    if not isinstance(message, Mapping) or not isinstance(message.get("poll"), Mapping):
        return message
    poll = message["poll"]
    options = [
        {"persistent_id": str(number), **option}
        for number, option in enumerate(poll.get("options", ()))
    ]
    newer = {"allows_revoting": False, "members_only": False}
    return {**message, "poll": {**newer, **poll, "options": options}}


def _reduced(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    return {key: value for key, value in message.items() if key in _ESSENTIAL}
