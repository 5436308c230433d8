"""What must survive a restart: channels, messages, turns and settings, in a SQL database."""

from kogpt_bot.store.store import Store
from kogpt_bot.store.values import (
    JsonValue,
    Reply,
    SettingChange,
    StoredMessage,
    Turn,
    TurnPlan,
    TurnState,
)

__all__ = [
    "JsonValue",
    "Reply",
    "SettingChange",
    "Store",
    "StoredMessage",
    "Turn",
    "TurnPlan",
    "TurnState",
]
