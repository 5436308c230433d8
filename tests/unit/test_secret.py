"""Secrets are read from where they are named, and never shown."""

import json
import pickle

import pytest
from structlog.testing import capture_logs

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.secret import Secret, open_to_others, read_secret


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
    file.chmod(0o600)
    assert read_secret("t", "A_TOKEN", None) == Secret("hunter2")
    assert read_secret("t", None, str(file)) == Secret("hunter3")
    assert read_secret("t", None, None) is None


@pytest.mark.parametrize(
    ("env", "file", "message"),
    [
        ("NOT_SET", None, "t_env: the environment variable NOT_SET is not set"),
        (None, "missing", "t_file: .*missing cannot be read"),
        (None, "empty", "t_file: .*empty is empty"),
        (None, "binary", "t_file: .*binary cannot be read: not text"),
        (None, "long", "t_file: .*long is larger than"),
        (None, "lines", "t_file: .*lines holds more than one line"),
        (None, ".", "t_file: .* cannot be read: Is a directory"),
        ("LINES", None, "t_env: LINES holds more than one line"),
        ("A", "empty", "both t_env and t_file are set"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(monkeypatch, tmp_path, env, file, message):
    monkeypatch.setenv("LINES", "hunter2\nX-Admin: yes")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    (tmp_path / "long").write_text("hunter2" * 20_000)
    (tmp_path / "lines").write_text("hunter2\nhunter2\n")
    with pytest.raises(ConfigurationError, match=message) as error:
        read_secret("t", env, str(tmp_path / file) if file else None)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_home_that_is_not_there():
    with pytest.raises(
        ConfigurationError, match="t_file: ~nobody-x/t cannot be read: no such user"
    ):
        read_secret("t", None, "~nobody-x/t")


@pytest.mark.parametrize(
    ("mode", "others"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)]
)
def test_a_file_that_others_can_read_is_warned_of(tmp_path, mode, others):
    file = tmp_path / "token"
    file.write_text("hunter2\n")
    file.chmod(mode)
    assert open_to_others(str(file)) is others
    with capture_logs() as logs:
        assert read_secret("t", None, str(file)) == Secret("hunter2")
    assert [each["event"] for each in logs] == ["secret_readable_by_others"] * others
    assert "hunter2" not in str(logs)
    assert not open_to_others(str(tmp_path / "missing"))
