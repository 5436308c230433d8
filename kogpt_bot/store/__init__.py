"""What must survive a restart: channels, messages, turns and settings, in a SQL database."""

from kogpt_bot.store.recording import Recorded
from kogpt_bot.store.store import Store
from kogpt_bot.store.values import (
    JsonValue,
    OutboxPart,
    PartState,
    Reply,
    SettingChange,
    StoredMessage,
    Turn,
    TurnPlan,
    TurnState,
)

__all__ = [
    "JsonValue",
    "OutboxPart",
    "PartState",
    "Recorded",
    "Reply",
    "SettingChange",
    "Store",
    "StoredMessage",
    "Turn",
    "TurnPlan",
    "TurnState",
]
