"""A throwaway PostgreSQL cluster, where PostgreSQL is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin")


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest; None where it is not installed."""
    found = [
        folder
        for place in PLACES
        for folder in Path("/").glob(place.lstrip("/"))
        if (folder / "initdb").is_file()
    ]
    if (on_path := shutil.which("initdb")) is not None:
        found.append(Path(on_path).parent)
    return max(found, key=lambda folder: (len(str(folder)), str(folder)), default=None)


class Postgres:
    """One cluster in a temporary folder, on a port of the loopback."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.data = folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # PostgreSQL refuses to be root's; Debian's package makes a user for it.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "--pgdata", self.data, "--username", "kogpt", "--auth", "trust",
            "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://kogpt@127.0.0.1:{self.port}/{database}"

    def start(self, *, synchronous: bool = False) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c max_connections=60"
            f" -c unix_socket_directories='{self.folder}' -c fsync={'on' if synchronous else 'off'}"
        )
        self._run(
            "pg_ctl", "start", "--wait", "--pgdata", self.data, "--options", options,
            "--log", self.folder / "log",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "--wait", "--pgdata", self.data, "--mode", mode)

    def sql(self, statement: str, database: str = "postgres") -> str:
        return self._run(
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--host", "127.0.0.1",
            "--port", self.port, "--username", "kogpt", "--command", statement, database,
        )  # fmt: skip

    def _run(self, program: str, *arguments: object) -> str:
        done = subprocess.run(
            [*self._as, str(self.programs / program), *map(str, arguments)],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=60, cwd=self.folder,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}")
        return done.stdout.strip()


@contextmanager
def cluster() -> Iterator[Postgres]:
    """Run a cluster for as long as the block does."""
    programs = find_postgres()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="kogpt-postgres-") as folder:
        made = Postgres(programs, Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")
