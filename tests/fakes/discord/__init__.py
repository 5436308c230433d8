"""A small Discord on the loopback: REST and gateway, with people in it that a test plays."""

from tests.fakes.discord.server import FakeDiscord

__all__ = ["FakeDiscord"]
