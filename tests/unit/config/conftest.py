"""Loading a text as if it were the file."""

import pytest

from kogpt_bot import config
from kogpt_bot.errors import EXIT_CONFIGURATION, ConfigurationError


@pytest.fixture
def load(tmp_path):
    """Load a text; return the settings."""

    def load(text):
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return config.load(path)

    return load


@pytest.fixture
def faults(tmp_path):
    """Load a text; return what is said about it, line by line, without the file's name."""

    def load(text):
        path = tmp_path / "c.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigurationError) as error:
            config.load(path)
        assert error.value.exit_code == EXIT_CONFIGURATION
        str(error.value).encode()  # a terminal can show it
        lines = str(error.value).split("\n")
        assert all(line.startswith(f"{path}:") for line in lines)
        return [line.removeprefix(f"{path}:") for line in lines]

    return load
