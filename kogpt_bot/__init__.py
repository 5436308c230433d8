"""The public face of kogpt-bot: what an adapter's author imports, and nothing heavy."""

from kogpt_bot.adapter import (
    Adapter,
    AdapterPlugin,
    Capabilities,
    Drafting,
    Inbox,
    LengthUnit,
)
from kogpt_bot.command_words import COMMANDS, Argument, Command, Words
from kogpt_bot.errors import (
    AdapterError,
    BadCredentials,
    ConfigurationError,
    Forbidden,
    Gone,
    KogptBotError,
    Malformed,
    NotSent,
    Refused,
    RetryAfter,
    StoreError,
    Unreachable,
)
from kogpt_bot.messages import (
    Action,
    ActionKind,
    ActionResult,
    Attachment,
    Author,
    ChannelKey,
    Incoming,
    Outgoing,
    PastMessage,
    ScopeLevel,
    SettingView,
)
from kogpt_bot.particles import Particle, with_particle
from kogpt_bot.secret import Secret, read_secret

__all__ = [
    "COMMANDS",
    "Action",
    "ActionKind",
    "ActionResult",
    "Adapter",
    "AdapterError",
    "AdapterPlugin",
    "Argument",
    "Attachment",
    "Author",
    "BadCredentials",
    "Capabilities",
    "ChannelKey",
    "Command",
    "ConfigurationError",
    "Drafting",
    "Forbidden",
    "Gone",
    "Inbox",
    "Incoming",
    "KogptBotError",
    "LengthUnit",
    "Malformed",
    "NotSent",
    "Outgoing",
    "Particle",
    "PastMessage",
    "Refused",
    "RetryAfter",
    "ScopeLevel",
    "Secret",
    "SettingView",
    "StoreError",
    "Unreachable",
    "Words",
    "read_secret",
    "with_particle",
]

__version__ = "0.1.0"
