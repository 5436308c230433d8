"""The doctor looks at Discord's token, and asks Discord when it is told to."""

import httpx
import pytest

from kogpt_bot_discord.diagnosis import diagnose
from kogpt_bot_discord.settings import DiscordSettings

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GaBcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"


@pytest.fixture
def found(monkeypatch):
    """Return the findings about a token, with what Discord answers."""

    def found(answers=None, *, token=TOKEN, online=True, **section):
        def respond(request):
            assert request.headers["Authorization"] == f"Bot {token}"
            answer = (answers or {})[request.url.path.removeprefix("/api/v10")]
            if isinstance(answer, Exception):
                raise answer
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            return httpx.Response(status, json=body)

        client, transport = httpx.Client, httpx.MockTransport(respond)
        monkeypatch.setattr(httpx, "Client", lambda **kw: client(transport=transport, **kw))
        monkeypatch.setenv("A_TOKEN", token)
        settings = DiscordSettings(token_env="A_TOKEN", **section)
        findings = diagnose(settings, online=online)
        assert TOKEN not in repr(findings)
        return {each.name: each for each in findings}

    return found


def test_all_is_well(found):
    application = {"id": "42", "flags": 1 << 19}
    checks = found({"/users/@me": {"username": "koko"}, "/applications/@me": application})
    assert not any(each.remedy for each in checks.values())
    assert "koko" in checks["login"].finding
    assert "permissions=309237713920&client_id=42" in checks["invite"].finding


def test_discord_is_not_asked_unasked(found):
    assert list(found(online=False)) == ["token"]


@pytest.mark.parametrize("token", ["123456789012345678", f"Bot {TOKEN}", "a.b.c"])
def test_what_is_no_token_is_said_without_asking(found, token):
    (check,) = found(token=token).values()
    assert not check.serious
    assert "Reset Token" in check.remedy


def test_a_token_that_discord_refuses(found):
    check = found({"/users/@me": (401, {})})["login"]
    assert check.serious
    assert "Reset Token" in check.remedy


@pytest.mark.parametrize("wanted", [True, False])
def test_the_intent_that_is_off(found, wanted):
    answers = {"/users/@me": {"username": "koko"}, "/applications/@me": {"flags": 0}}
    assert bool(found(answers, message_content=wanted)["message content"].remedy) is wanted


@pytest.mark.parametrize(
    ("answer", "serious"),
    [
        (httpx.ConnectError("no route"), True),
        ((503, {}), False),
        ((404, {}), False),
    ],
)
def test_discord_that_does_not_answer_as_it_should(found, answer, serious):
    check = found({"/users/@me": answer})["login"]
    assert check.serious is serious
    assert check.remedy


def test_no_token_at_all():
    (check,) = diagnose(DiscordSettings(), online=False)
    assert check.serious
    assert "token_env: DISCORD_TOKEN" in check.remedy
