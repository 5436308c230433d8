"""`kogpt-bot db ...`, as it is typed."""

import pytest
from typer.testing import CliRunner

from kogpt_bot.cli import app
from kogpt_bot.errors import StoreError


@pytest.fixture
def db(tmp_path, monkeypatch):
    """Run a command in a folder with a configuration of its own; return what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("data_dir: data\n")

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, ["db", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.output.strip()

    return run


def test_the_life_of_a_database(db, tmp_path):
    with pytest.raises(StoreError, match="there is no database"):
        db("check")
    assert db("upgrade").endswith("(was empty)")
    assert db("upgrade").endswith("(is up to date)")
    assert db("check") == "ok"
    assert db("backup", "copy.sqlite3").startswith("copy.sqlite3: ")
    assert "bytes before" in db("vacuum")
    (tmp_path / "data" / "kogpt.sqlite3").write_bytes(b"not a database" * 1000)
    assert "not a database" in db("check", status=1)
