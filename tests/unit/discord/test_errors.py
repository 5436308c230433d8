"""Every error of Discord's has its place in the table."""

import inspect
from types import SimpleNamespace

import aiohttp
import discord
import discord.errors
import pytest

from kogpt_bot import errors as ours
from kogpt_bot_discord.errors import CLOSE_CODES, FOREIGN, TABLE, translate, translated

KEY = SimpleNamespace(host="h", port=1, ssl=True, is_ssl=True)


def made(kind):
    """Return an instance, whatever its constructor wants."""
    error = kind.__new__(kind)
    error.status, error.text, error.retry_after = 400, "no", 1.5
    if issubclass(kind, discord.DiscordException):
        error.code = 0
    error.args = ("reason",)
    error._conn_key, error._os_error = KEY, OSError("refused")
    error._certificate_error = ValueError("bad")
    error.request_info, error.message, error._path = SimpleNamespace(real_url="u"), "m", "p"
    error.headers, error.history, error._url, error._description = None, (), "u", "d"
    return error


def subclasses(kind):
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


ALL = {
    *(e for e in vars(discord.errors).values() if inspect.isclass(e) and issubclass(e, Exception)),
    *subclasses(discord.DiscordException),
    *subclasses(aiohttp.ClientError),
    TimeoutError,
    ConnectionResetError,
}


@pytest.mark.parametrize("kind", sorted(ALL, key=lambda kind: kind.__name__))
def test_each_is_translated(kind):
    error = translate(made(kind))
    assert isinstance(error, ours.AdapterError | ours.ConfigurationError)
    assert "\n" not in str(error)


def test_the_special_come_before_the_general():
    kinds = [kind for kind, _ in TABLE]
    for at, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[at + 1 :]), kind
    assert tuple(kinds) == FOREIGN


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (discord.RateLimited, ours.RetryAfter),
        (discord.Forbidden, ours.Forbidden),
        (discord.NotFound, ours.Gone),
        (discord.DiscordServerError, ours.Unreachable),
        (discord.HTTPException, ours.Malformed),
        (discord.LoginFailure, ours.BadCredentials),
        (discord.PrivilegedIntentsRequired, ours.ConfigurationError),
        (discord.GatewayNotFound, ours.Unreachable),
        (aiohttp.ClientConnectorError, ours.NotSent),
        (aiohttp.ServerDisconnectedError, ours.Unreachable),
        (TimeoutError, ours.Unreachable),
    ],
)
def test_what_the_core_decides_by(kind, expected):
    assert type(translate(made(kind))) is expected


@pytest.mark.parametrize("code", [1000, 4000, 4001, 4008, *CLOSE_CODES])
def test_close_codes(code):
    error = discord.ConnectionClosed(SimpleNamespace(close_code=code), shard_id=0)
    translated_ = translate(error)
    if code in CLOSE_CODES:
        assert type(translated_) is type(CLOSE_CODES[code])
        assert "; " in str(translated_), "what is wrong; what to do"
    else:
        assert type(translated_) is ours.Unreachable


def test_what_is_not_discords_is_let_through():
    with pytest.raises(KeyError), translated():
        raise KeyError("ours")
    with pytest.raises(TypeError):
        translate(KeyError("ours"))


def test_the_time_is_kept():
    error = translate(discord.RateLimited(2.5))
    assert isinstance(error, ours.RetryAfter)
    assert error.seconds == 2.5
