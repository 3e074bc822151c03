"""What the demo runs beside its own processes when it has two hubs: nginx before them, a store behind them.

Each is the real program with its files in the data folder, on loopback ports that were free, and a stranger on this
machine needs a password for the store. ``guard`` is the small process around each: it ends the program when the demo
ends, however the demo ends, and keeps what the program says in a file.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final
from urllib.parse import urlsplit

STORES: Final = ("redis", "postgres")
SHARED: Final = ("redis", "rediss", "valkey", "valkeys", "postgres", "postgresql")  # what two hubs can stand on
START_SECONDS: Final = 60.0
TOLD: Final = 2_000  # characters of a log that are shown when its program failed

_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian keeps servers, off the path of most people
_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Program:
    """A server that is not ours. It runs in ``folder``, as ``user`` where it would refuse to be root's."""

    name: str
    command: Sequence[str]
    folder: Path
    stop: signal.Signals = signal.SIGTERM
    user: str = ""

    def guarded(self) -> list[str]:
        """The arguments of this program (``__main__``) that run it."""
        own = ["--folder", str(self.folder), "--stop", str(int(self.stop)), "--user", self.user]
        return ["--role", "program", *own, "--", *self.command]


@dataclass(frozen=True, slots=True)
class Store:
    """A store that the demo runs for itself: the program, the engine's URL, and a look whether it answers."""

    program: Program
    url: str
    answers: Callable[[], bool]


def is_redis(url: str) -> bool:
    """Whether an engine's URL is that of a Redis."""
    return url.partition(":")[0] in {"redis", "rediss", "valkey", "valkeys"}


def check(engine: str) -> None:
    """Raises SystemExit, with what would help, where something is not installed that two hubs on ``engine`` need."""
    kind = "postgres" if engine.startswith("postgres") else "redis"
    driver = {"redis": "redis", "postgres": "psycopg"}[kind]
    if find_spec(driver) is None:
        raise SystemExit(f"The demo on {kind} needs {driver}: pip install 'milepost[demo,{kind}]'")
    _program("nginx", package="nginx")
    if engine == "redis":
        _program("redis-server", "valkey-server", package="redis-server")
    elif engine == "postgres":
        _postgres_programs()


def make_store(kind: str, data_dir: Path, secret: str) -> Store:
    """Redis or PostgreSQL with its data below ``data_dir``. Raises SystemExit with a sentence."""
    password = hmac.new(secret.encode(), kind.encode(), hashlib.sha256).hexdigest()
    return _redis(data_dir, password) if kind == "redis" else _postgres(data_dir, password)


def _redis(data_dir: Path, password: str) -> Store:
    folder = data_dir / "redis"
    folder.mkdir(exist_ok=True)
    port = free_port()
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "save": '""',
        # what durability=strict asks for: on the disk before it is acknowledged, and nothing is ever evicted
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
    }
    _write_private(folder / "redis.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))
    command = [_program("redis-server", "valkey-server", package="redis-server"), "redis.conf"]

    def answers() -> bool:
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            with Redis(port=port, password=password) as client:
                return bool(client.ping())
        except RedisError:
            return False

    return Store(
        Program("redis", command, folder), f"redis://:{password}@127.0.0.1:{port}/0?durability=strict", answers
    )


def _postgres(data_dir: Path, password: str) -> Store:
    folder, user = _postgres_folder(data_dir)
    port = free_port()
    programs = _postgres_programs()
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        words = folder / "password"
        _write_private(words, password, user)
        make = [str(programs / "initdb"), "-D", str(data), "-U", "milepost", "-A", "scram-sha-256", f"--pwfile={words}"]
        made = subprocess.run(
            [*make, "-E", "UTF8", "--locale=C"],
            **_as(user),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        words.unlink()
        if made.returncode:
            shutil.rmtree(data, ignore_errors=True)
            raise SystemExit(f"PostgreSQL cannot be set up in {data}: {made.stderr.strip()[-TOLD:]}")
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "32MB"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    url = f"postgresql://milepost:{password}@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        import psycopg

        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    command = [str(programs / "postgres"), "-D", str(data), *options]
    return Store(Program("postgres", command, folder, signal.SIGINT, user), url, answers)


def _postgres_folder(data_dir: Path) -> tuple[Path, str]:
    """Where a cluster can be, and whose it is: PostgreSQL refuses to be root's, so there its package's user has it."""
    folder = data_dir / "postgres"
    if os.geteuid() != 0:
        folder.mkdir(exist_ok=True)
        return folder, ""
    account = pwd.getpwnam("postgres")
    if any(not parent.stat().st_mode & 0o001 for parent in data_dir.parents) or not data_dir.stat().st_mode & 0o001:
        # it may not even look into a folder of root's own; its home stands for a folder beside the data
        name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]
        folder = Path(account.pw_dir) / f"milepost-demo-{name}"
    folder.mkdir(exist_ok=True)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return folder, account.pw_name


def _postgres_programs() -> Path:
    """The folder of the newest PostgreSQL's programs: Debian keeps them off the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda found: int(found.parts[-3]))
    if installed:
        return installed[-1].parent
    return Path(_program("postgres", package="postgresql")).resolve().parent


def make_nginx(data_dir: Path, listener: tuple[str, int], hubs: Sequence[int]) -> Program:
    """What serves one address from the hubs on these ports, each request from whichever of them is there."""
    folder = data_dir / "nginx"
    folder.mkdir(exist_ok=True)
    host, port = listener
    text = (Path(__file__).with_name("nginx.conf")).read_text()
    servers = "".join(f"server 127.0.0.1:{hub} max_fails=0;\n        " for hub in hubs)
    filled = {
        "USER": "user root;" if os.geteuid() == 0 else "",
        "HUBS": servers.strip(),
        "LISTEN": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
    }
    for name, value in filled.items():
        text = text.replace(name, value)
    (folder / "nginx.conf").write_text(text)
    command = [_program("nginx", package="nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return Program("nginx", [*command, "-e", "stderr"], folder)


def guard(program: Program, *, started: Callable[[], None]) -> int:
    """Runs it until it ends or this process is told to; its exit code, with its last words where it failed.

    ``started`` is called when the program runs: before, this process has to have one thread only.
    """
    log = program.folder / "log"
    with log.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(
            program.command,
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread yet
            **_as(program.user),
        )
    stopping = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        process.send_signal(program.stop)

    signal.signal(signal.SIGTERM, end)
    started()
    code = process.wait()
    if code and not stopping:
        sys.stderr.write(log.read_bytes()[began:][-TOLD:].decode(errors="replace"))
    return code if code >= 0 else 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, int(signal.SIGTERM))


def free_port() -> int:
    """A loopback port that nobody uses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def shown(url: str) -> str:
    """An engine's URL without its password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _as(user: str) -> dict[str, Any]:
    if not user:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _write_private(path: Path, text: str, user: str = "") -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    if user:
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)


def _program(*names: str, package: str) -> str:
    for name in names:
        found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")
        if found:
            return found
    raise SystemExit(f"The demo with two hubs needs {names[0]} (on Debian: apt-get install {package}).")
