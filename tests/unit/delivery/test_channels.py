"""The settings of channels: resolved once, and anew when they change."""

from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from kogpt_bot.conversation.settings import SettingsLayers
from kogpt_bot.delivery import channels
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.messages import ChannelKey

ROOM = ChannelKey("fake", "room")
PERSONAS = {"default": DEFAULT_PERSONA}


def colder(value):
    return {"fake": {"sampling.temperature": value}}


def test_what_changes_shows_at_once():
    book = ChannelBook(SettingsLayers(file=colder(0.5)), PERSONAS)
    assert book.effective(ROOM).settings.sampling.temperature == 0.5
    assert book.effective(ROOM) is book.effective(ROOM)
    book.take_commands(colder(0.25))
    assert book.effective(ROOM).settings.sampling.temperature == 0.25
    book.replace(SettingsLayers(file=colder(0.75)), PERSONAS)
    assert book.effective(ROOM).settings.sampling.temperature == 0.75


def test_the_settings_at_hand_are_bounded():
    book = ChannelBook(SettingsLayers(), PERSONAS)
    for number in range(2 * channels.RESOLVED + 1):
        book.effective(ChannelKey("fake", f"c{number}"))
    assert len(book._resolved) <= channels.RESOLVED
