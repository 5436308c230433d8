"""The public face of kogpt-bot: what an adapter's author imports, and nothing heavy."""

from kogpt_bot.adapter import (
    Adapter,
    AdapterPlugin,
    Capabilities,
    Connection,
    Drafting,
    Inbox,
    LengthUnit,
    Reporting,
)
from kogpt_bot.clock import Clock, SystemClock
from kogpt_bot.command_words import COMMANDS, Argument, Command, Words
from kogpt_bot.errors import (
    AdapterError,
    AlreadyRunning,
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
from kogpt_bot.lock import hold
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
    "AlreadyRunning",
    "Argument",
    "Attachment",
    "Author",
    "BadCredentials",
    "Capabilities",
    "ChannelKey",
    "Clock",
    "Command",
    "ConfigurationError",
    "Connection",
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
    "Reporting",
    "RetryAfter",
    "ScopeLevel",
    "Secret",
    "SettingView",
    "StoreError",
    "SystemClock",
    "Unreachable",
    "Words",
    "hold",
    "read_secret",
    "with_particle",
]

__version__ = "0.1.0"
