"""A file is held by one, and let go with the process, however it ends."""

import subprocess
import sys

import pytest

from kogpt_bot.errors import AlreadyRunning
from kogpt_bot.lock import hold_file


def refusal(process):
    return f"held by {process}"


def test_one_holds_it_at_a_time(tmp_path):
    file = tmp_path / "new" / "a.lock"
    with hold_file(file, refusal):
        with pytest.raises(AlreadyRunning, match=r"held by \d+"):
            with hold_file(file, refusal):
                pass
    with hold_file(file, refusal):
        pass


def test_it_goes_with_a_process_that_is_killed(tmp_path):
    file = tmp_path / "a.lock"
    script = (
        "import pathlib, sys, time\n"
        "from kogpt_bot.lock import hold_file\n"
        f"with hold_file(pathlib.Path({str(file)!r}), str):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"held by {process.pid}"):
            with hold_file(file, refusal):
                pass
        process.kill()
        process.wait(10)
    with hold_file(file, refusal):
        pass


def test_a_file_that_cannot_be_had(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        with hold_file(tmp_path / "file" / "a.lock", refusal):
            pass
