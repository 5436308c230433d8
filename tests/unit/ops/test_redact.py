"""Secrets and ids never come out of the log, whatever way they went in."""

import io
import json
import logging

import httpx
import pytest
import structlog

from kogpt_bot import Author, ChannelKey, Secret
from kogpt_bot.ops import logging as logs
from kogpt_bot.ops.logging.redact import Redactor

TELEGRAM = "1234567890:AAF-abcdefghijklmnopqrstuvwxyz_0123"
DISCORD = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA.Gabcde.abcdefghijklmnopqrstuvwxyz0123456789ab"


@pytest.fixture
def root():
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    for each in root.handlers:
        if isinstance(each, logs.Pipeline):
            each.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(params=["json", "console"])
def said(request, root):
    """Log with `log`, as JSON or for people; return what came out."""
    output = io.StringIO()

    def configure(*hidden):
        logs.configure("debug", request.param, output, hidden=[Secret(each) for each in hidden])
        return structlog.get_logger("kogpt_bot.test"), output.getvalue

    return configure


@pytest.mark.parametrize(
    "text",
    [
        f"https://api.telegram.org/bot{TELEGRAM}/getUpdates",
        f"https://api.telegram.org/bot{TELEGRAM.replace(':', '%3A')}/sendMessage?chat_id=1",
        f"the token {TELEGRAM} was refused",
        f"Bot {DISCORD}",
        f"{{'Authorization': 'Bot {DISCORD}'}}",
        "headers: Authorization: Bearer hunter2-hunter2",
        "(b'authorization', b'Bearer hunter2-hunter2')",
        "Authorization: Basic aHVudGVyMjpodW50ZXIy",
        "postgresql+asyncpg://kogpt:hunter2@db/kogpt",
        "redis://:hunter2@db",
        "GET /x?api_key=hunter2hunter2&y=1",
        "password='hunter2!'",
        '{"token": "hunter2hunter2"}',
        "using hf_abcdefghijklmnopqrstuvwxyz",
        "key sk-abcdefghijklmnop1234",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text):
    shown = Redactor().text(text)
    for part in ("hunter2", "aHVudGVyMjpod", TELEGRAM[-20:], DISCORD[-20:], "abcdefghijklmnop"):
        assert part not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "generation_restarts code=-9 reason=ended by SIGKILL",
        "config.yaml:3:5 adapters.telegram.token: a secret does not stand in the file",
        "GET http://127.0.0.1:8080/health 200",
        "2026-11-25T13:00:00.123456Z model kakaobrain/kogpt KoGPT6B-ryan1.5b-float16",
        "http://generation:8000/v1/completions",
        "token 12 of 128",
        "adapters.discord.token: missing; set token_env",
        "안녕하세요",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Redactor().text(text) == text


def test_known_secrets_are_hidden_in_every_place(said):
    log, text = said("s3cret value/한글")
    log.info(
        "event s3cret value/한글", plain="xs3cret value/한글x", deep={"a": ["s3cret value/한글"]}
    )
    log.info(
        "quoted", url="/s3cret%20value%2F%ED%95%9C%EA%B8%80/", other=Exception("s3cret value/한글")
    )
    logging.getLogger("foreign").warning("said %s", "s3cret value/한글")
    log.info("by_key", **{"s3cret value/한글": 1})
    assert "s3cret" not in text()
    assert text().count("***") >= 7


def test_tracebacks_show_neither_secrets_nor_variables(said):
    log, text = said("hunter2secret")

    def fails(variable):
        raise httpx.ConnectError(f"POST https://api.telegram.org/bot{TELEGRAM}/x hunter2secret")

    try:
        fails("-".join(["the", "value"]))
    except httpx.ConnectError:
        log.exception("it_failed")
        logging.getLogger("foreign").exception("it failed")
    assert text().count("ConnectError") >= 2
    for hidden in ("hunter2secret", TELEGRAM[-20:], "the-value"):
        assert hidden not in text()


def test_short_secrets_do_not_blank_the_log():
    assert Redactor([Secret("a")]).text("a cat") == "a cat"


def test_ids_become_pseudonyms(said):
    log, text = said()
    key = ChannelKey("discord", "222222222222222222", "111111111111111111")
    log.info("one", where=key, who=Author("333333333333333333", "민수"), channel="general", user=7)
    log.info("two", where=key)
    logging.getLogger("foreign").warning("Task lane discord/111111111111111111 failed")
    assert not any(d * 18 in text() for d in "123")
    assert "민수" not in text()
    assert "general" not in text()
    assert len({Redactor(salt=b"x").pseudonym(each) for each in "abca"}) == 3
    assert Redactor().pseudonym("1") != Redactor().pseudonym("1")  # no table of all ids helps


def test_numbers_and_flags_stay_what_they_are(root):
    output = io.StringIO()
    logs.configure("info", "json", output)
    structlog.get_logger("kogpt_bot.x").info("e", n=1, x=0.5, yes=True, none=None, many=[1, "a"])
    event = json.loads(output.getvalue())
    assert (event["n"], event["x"], event["yes"], event["none"]) == (1, 0.5, True, None)
    assert event["many"] == [1, "a"]
    assert event["level"] == "info"
