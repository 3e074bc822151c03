"""A real PostgreSQL for the tests: a cluster of its own in a temporary folder, on a free loopback port."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        self.port = _free_port()
        self._bin = binaries()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def create(self) -> None:
        """Make the cluster; its only user is ``milepost``, without a password."""
        self._run("initdb", "-D", self.data, "-U", "milepost", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start it, and return when it takes connections, also as a standby."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "max_connections": 200,
            "shared_buffers": "64MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self.data), *options]
        with (self.folder / "log").open("ab") as log:
            # a child of ours, so that it is gone when it was killed: a dead one that nobody waited for looks alive
            self._process = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._user
            )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from error
                time.sleep(0.02)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, ``fast`` or ``immediate``, which is a crash that the next start recovers from."""
        assert self._process is not None
        self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self._process.wait(SECONDS)

    def kill(self) -> None:
        """Kill -9 of the postmaster and of every backend, as the kernel would when memory runs out."""
        assert self._process is not None
        pid = self._process.pid
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for each in (pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._process.wait(SECONDS)
        while any(_lives(child) for child in children):
            time.sleep(0.005)

    def promote(self) -> None:
        """Make a standby the primary, on a timeline of its own."""
        self._run("pg_ctl", "-D", self.data, "-t", SECONDS, "-w", "promote")

    def standby(self, folder: Path, *, port: int | None = None) -> PostgresServer:
        """A standby of this server as it is now, not started yet; it follows on, perhaps through a proxy."""
        other = PostgresServer(folder)
        source = f"host=127.0.0.1 port={port or self.port} user=milepost"
        self._run("pg_basebackup", "-d", source, "-D", other.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        return other

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

    def _run(self, program: str, *arguments: str | Path | int) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(
            command, check=False, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, **self._user
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


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
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
