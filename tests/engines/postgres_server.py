"""A real PostgreSQL for the tests: a cluster of its own in a temporary folder, on a free loopback port."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psycopg

SECONDS = 30


def binaries() -> Path:
    """Where the newest PostgreSQL's programs are: Debian keeps them off the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda found: int(found.parts[-3]))
    on_path = shutil.which("pg_ctl")
    if installed:
        return installed[-1].parent
    if on_path is None:
        raise RuntimeError("no PostgreSQL here; `make test` installs one")
    return Path(on_path).resolve().parent


class PostgresServer:
    """One cluster. It refuses to run as root, so there it belongs to the user that its package made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._bin = binaries()
        self._as = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
        self._numbers = itertools.count(1)
        self.port = _free_port()

    def create(self) -> None:
        """Make the cluster; its only user is ``milepost``, without a password."""
        if self._as:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", self.data, "-U", "milepost", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
            " -c max_connections=200 -c shared_buffers=64MB -c wal_level=replica -c max_wal_senders=4"
        )
        self._run(
            "pg_ctl", "-D", self.data, "-l", self.folder / "log", "-t", str(SECONDS), "-o", options, "-w", "start"
        )

    def stop(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """Stop it; ``immediate`` is a crash that the next start recovers from."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-t", str(SECONDS), "-w", "stop")

    def promote(self) -> None:
        """Make a standby the primary, on a timeline of its own."""
        self._run("pg_ctl", "-D", self.data, "-t", str(SECONDS), "-w", "promote")

    def standby(self, folder: Path) -> PostgresServer:
        """A standby of this server as it is now, not started yet."""
        other = PostgresServer(folder)
        if self._as:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        source = f"host=127.0.0.1 port={self.port} user=milepost"
        self._run("pg_basebackup", "-d", source, "-D", other.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        return other

    @property
    def pid(self) -> int:
        """The postmaster."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def kill(self) -> None:
        """Kill -9 of the postmaster and of every backend, as the kernel would when memory runs out."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in (self.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for pid in (self.pid, *map(int, children)):
            while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
                pass  # it holds the port and the shared memory until it is gone

    def url(self, database: str, *, port: int | None = None) -> str:
        """Where an engine finds a database, perhaps through a proxy."""
        return f"postgresql://milepost@127.0.0.1:{port or self.port}/{database}"

    def new_database(self) -> str:
        """An empty database."""
        name = f"t{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement beside everything else."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self._as, str(self._bin / program), *map(str, arguments)]
        with (self.folder / "programs").open("ab") as log:  # a pipe would stay open for as long as the server runs
            done = subprocess.run(
                command, check=False, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        if done.returncode:
            logs = [path for path in (self.folder / "programs", self.folder / "log") if path.exists()]
            said = [path.read_text(errors="replace") for path in logs]
            raise RuntimeError(f"{program}: {''.join(said)[-2000:]}")


@contextlib.contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A server that runs, and is gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="milepost-postgres-"))
    folder.chmod(0o755)
    server = PostgresServer(folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        with contextlib.suppress(RuntimeError):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
