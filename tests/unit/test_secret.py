"""Secrets are read from where they are named, and never shown."""

import json
import pickle

import pytest

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.secret import Secret, read_secret


def test_a_secret_does_not_show():
    secret = Secret("hunter2")
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>9}",
        repr([secret]),
    ):
        assert "hunter2" not in text
    assert secret.reveal() == "hunter2"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_it_comes_from_the_environment_or_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("A_TOKEN", " hunter2\n")
    file = tmp_path / "token"
    file.write_text("hunter3\n")
    assert read_secret("t", "A_TOKEN", None) == Secret("hunter2")
    assert read_secret("t", None, str(file)) == Secret("hunter3")
    assert read_secret("t", None, None) is None


@pytest.mark.parametrize(
    ("env", "file", "message"),
    [
        ("NOT_SET", None, "t_env: the environment variable NOT_SET is not set"),
        (None, "missing", "t_file: .*missing cannot be read"),
        (None, "empty", "t_file: .*empty is empty"),
        ("A", "empty", "both t_env and t_file are set"),
    ],
)
def test_what_is_missing_is_named(tmp_path, env, file, message):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigurationError, match=message):
        read_secret("t", env, str(tmp_path / file) if file else None)
