"""A Bot API on the loopback: chats, people, and the server that the real library talks to."""

from tests.fakes.telegram.platform import BOT, PERSON, TOKEN, Platform
from tests.fakes.telegram.server import FakeTelegram, Fault

__all__ = ["BOT", "PERSON", "TOKEN", "FakeTelegram", "Fault", "Platform"]
