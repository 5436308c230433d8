"""Real processes and sockets on the loopback."""

import os
import subprocess
import sys

import pytest

from tests.fakes.checkpoints import TIED, make_checkpoint


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Return the folder of a random model that loads in no time."""
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny", **TIED)


@pytest.fixture
def environment(tmp_path):
    """Return an environment in which nothing of the user's is touched."""
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


@pytest.fixture
def command(environment, tmp_path):
    """Run `kogpt-bot ...` to its end."""

    def run(*arguments, stdin="", timeout=60):
        return subprocess.run(
            [sys.executable, "-m", "kogpt_bot", *map(str, arguments)],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            cwd=tmp_path,
        )

    return run
