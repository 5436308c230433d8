"""Each of the library's errors has one of ours, and the token stands in none."""

import os

import httpx
import pytest
from telegram import error as telegram

from kogpt_bot import errors as ours
from kogpt_bot.secret import Secret
from kogpt_bot_telegram.errors import (
    TABLE,
    Conflicting,
    Migrated,
    NothingNew,
    UnknownMethod,
    translate,
)

TOKEN = Secret("123:abc")
os.environ.setdefault("PTB_TIMEDELTA", "true")  # as `Api` does


def all_errors(kind=telegram.TelegramError):
    yield kind
    for each in kind.__subclasses__():
        yield from all_errors(each)


def test_the_table_is_complete():
    known = set(all_errors())
    assert {getattr(telegram, name) for name in telegram.__all__} <= known
    assert {each for each in known if each.__module__ == "telegram.error"} == set(TABLE)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (telegram.Forbidden("Forbidden: bot was blocked by the user"), ours.Forbidden),
        (telegram.InvalidToken("Unauthorized"), ours.BadCredentials),
        (telegram.InvalidToken("Not Found"), UnknownMethod),
        (telegram.TimedOut(), ours.Unreachable),
        (telegram.NetworkError("Bad Gateway"), ours.Unreachable),
        (telegram.NetworkError("Too Many Requests (429)"), ours.RetryAfter),
        (telegram.RetryAfter(7), ours.RetryAfter),
        (telegram.ChatMigrated(-1005), Migrated),
        (telegram.Conflict("Conflict: terminated"), Conflicting),
        (telegram.TelegramError("Invalid server response"), ours.Unreachable),
        (telegram.EndPointNotFound("x"), ours.Malformed),
        (telegram.PassportDecryptionError("x"), ours.Malformed),
        (caused(telegram.NetworkError("x"), httpx.ConnectError("refused")), ours.NotSent),
        (caused(telegram.TimedOut(), httpx.ConnectTimeout("late")), ours.NotSent),
        (caused(telegram.TimedOut(), httpx.PoolTimeout("full")), ours.NotSent),
        (caused(telegram.TimedOut(), httpx.ReadTimeout("late")), ours.Unreachable),
        (caused(telegram.NetworkError("x"), httpx.RemoteProtocolError("gone")), ours.Unreachable),
    ],
)
def test_kinds(error, kind):
    assert type(translate(error, TOKEN)) is kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Bad Request: chat not found", ours.Gone),
        ("Bad Request: message to edit not found", ours.Gone),
        ("Bad Request: message thread not found", ours.Gone),
        ("Bad Request: TOPIC_DELETED", ours.Gone),
        ("Bad Request: MESSAGE_ID_INVALID", ours.Gone),
        ("Bad Request: TOPIC_CLOSED", ours.Forbidden),
        ("Bad Request: not enough rights to send text messages to the chat", ours.Forbidden),
        ("Bad Request: CHAT_WRITE_FORBIDDEN", ours.Forbidden),
        ("Bad Request: CHAT_SEND_PLAIN_FORBIDDEN", ours.Forbidden),
        ("Bad Request: message can't be deleted for everyone", ours.Forbidden),
        ("Bad Request: message is too long", ours.Malformed),
        ("Bad Request: message text is empty", ours.Malformed),
        ("Bad Request: can't parse entities: ...", ours.Malformed),
        ("Bad Request: message is not modified: specified new ...", NothingNew),
    ],
)
def test_what_a_400_means(text, kind):
    assert type(translate(telegram.BadRequest(text), TOKEN)) is kind


def test_the_wait_is_taken_over():
    assert translate(telegram.RetryAfter(7), TOKEN).seconds == 7.0


def test_the_token_is_not_repeated():
    for kind in (telegram.NetworkError, telegram.BadRequest, telegram.InvalidToken):
        said = translate(kind("https://x/bot123:abc/getMe failed\nhere"), TOKEN)
        assert "123:abc" not in f"{said} {said!r}"
        assert "\n" not in str(said)
