"""The section `adapters.telegram`: what it takes, and how it says what it does not."""

import pytest

from kogpt_bot.errors import ConfigurationError
from kogpt_bot_telegram.settings import TelegramSettings, WebhookSettings


@pytest.mark.parametrize(
    "url",
    ["api.telegram.org", "ftp://x", "https://", "https://u:p@x", "https://x?y", "https://x:y"],
)
def test_an_address_that_is_none(url):
    with pytest.raises(ValueError, match="api_url"):
        TelegramSettings(api_url=url)
    with pytest.raises(ValueError, match=r"webhook\.url"):
        WebhookSettings(url=url)


@pytest.mark.parametrize(
    ("webhook", "route"),
    [
        (WebhookSettings(url="https://bot.example/a/b"), "/a/b"),
        (WebhookSettings(url="https://bot.example"), "/"),
        (WebhookSettings(url="https://bot.example/a", path="/c"), "/c"),
    ],
)
def test_where_we_listen(webhook, route):
    assert webhook.route == route


def test_a_path_begins_with_a_slash():
    with pytest.raises(ValueError, match="begins with /"):
        WebhookSettings(path="hook")


@pytest.mark.parametrize("secret", ["with space", "한글", "x" * 257, "a:b"])
def test_a_secret_that_telegram_does_not_take(monkeypatch, secret):
    monkeypatch.setenv("HOOK", secret)
    with pytest.raises(ConfigurationError, match="letters, digits") as caught:
        WebhookSettings(secret_env="HOOK").secret()
    assert secret not in str(caught.value)


def test_a_secret_is_read(monkeypatch):
    monkeypatch.setenv("HOOK", "a_b-1")
    assert WebhookSettings(secret_env="HOOK").secret().reveal() == "a_b-1"
    assert WebhookSettings().secret() is None


def test_the_section_in_the_file(tmp_path):
    from kogpt_bot import config

    file = tmp_path / "c.yaml"
    file.write_text(
        "adapters:\n  telegram:\n    token_env: T\n    poll_timeout_s: 60\n"
        "    webhook: {url: nonsense, port: 99999}\n    typo: 1\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        config.load(file)
    said = str(caught.value)
    for each in ("4:5 adapters.telegram.poll_timeout_s", "typo: is not known", "webhook"):
        assert each in said
    file.write_text("adapters:\n  telegram:\n    webhook: {url: nonsense}\n")
    with pytest.raises(ConfigurationError, match=r"webhook.*begins with https://"):
        config.load(file)
