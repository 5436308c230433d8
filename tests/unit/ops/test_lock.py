"""One daemon per data folder."""

import os

import pytest

from kogpt_bot.errors import AlreadyRunning, StoreError
from kogpt_bot.ops.lock import instance_lock


def test_a_second_holder_is_told_of_the_first(tmp_path):
    with instance_lock(tmp_path / "data"):
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}") as error:
            with instance_lock(tmp_path / "data"):
                pass
        assert error.value.exit_code == 75
    with instance_lock(tmp_path / "data"):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        with instance_lock(tmp_path / "file" / "data"):
            pass
