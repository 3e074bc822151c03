"""Starts hub and pages (one process) and the workers (one process each), restarts whichever dies, ends all together.

On SQLite there is one hub, and its listening socket belongs to this process: while the hub is being restarted, browsers
wait instead of being refused. On Redis and PostgreSQL there are two of them behind one nginx (``neighbours``): the port
of one that died refuses, and nginx asks the other.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from . import neighbours
from .catalogue import EXAMPLES

HUBS: Final = 2  # where they can share a store
REDIS: Final = "BOM_REDIS_URL"  # the environment's name for a Redis on which a worker may publish
STEADY_SECONDS: Final = 5.0  # a child that lived so long has started well
QUICK_DEATHS: Final = 5  # so many deaths in a row before that: it will never start
END_SECONDS: Final = 25.0  # the hub lets its streams go one by one; after this it is killed

_PROGRAM = Path(__file__).parents[1] / "__main__.py"


def run(
    names: Sequence[str] = (),
    *,
    host: str,
    port: int,
    data_dir: Path,
    open_browser: bool = False,
    engine: str | None = None,
    output: Path | None = None,
    token_seconds: float = 3600.0,
) -> None:
    """Serves until SIGINT or SIGTERM. Prints the address first; port 0 takes a free one.

    ``names``: which examples, all of them by default. ``engine``: "sqlite", a file in ``data_dir`` (the default);
    "redis" or "postgres", one that is started here with its data in ``data_dir``; or the URL of one that runs.
    ``output`` is where files are written, ``token_seconds`` how long a visitor's token lives. Raises SystemExit with a
    sentence where it cannot start.
    """
    names = names or list(EXAMPLES)
    _check(names)
    engine = engine or "sqlite"
    several = engine.partition(":")[0] in neighbours.SHARED
    if several:
        neighbours.check(engine)
    elif engine.partition(":")[0] != "sqlite":
        raise SystemExit(f"There is no engine {engine!r}: it is sqlite, redis, postgres, or the URL of one.")
    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    held = _hold(data_dir)
    listener = _listen(host, port)
    secret = make_secret(data_dir)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    shared = ["--data-dir", str(data_dir), "--url", url, "--token-seconds", str(token_seconds)]
    if output is not None:
        shared += ["--output", str(output)]
    hub = ["--role", "hub", *shared, *names]
    family = _Family()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: family.stop.set())
    try:
        # An engine's URL may hold a password, which an argument would show to everybody on the machine.
        store = f"sqlite:///{data_dir / 'milepost.db'}" if engine == "sqlite" else engine
        note = ""
        if several:
            store, elsewhere = _start_hubs(family, hub, engine, data_dir, secret, listener)
            note = f"· {HUBS} hubs behind one nginx, on {neighbours.shown(store)}{elsewhere}\n"
        else:
            family.start("hub", hub, listener.dup, {"MILEPOST_ENGINE": store})
        for name in names:
            for number in range(1, EXAMPLES[name].workers + 1):
                family.start(
                    f"worker {name} {number}", ["--role", "worker", *shared, name], environment=_redis_of(store)
                )
        if not family.stop.is_set():
            what = EXAMPLES[names[0]].title if len(names) == 1 else "The demo"
            print(f"{what} runs at {url} (Ctrl-C ends it; its data is in {data_dir})\n{note}", end="", flush=True)
            if open_browser:
                webbrowser.open(url)
        family.stop.wait()
    finally:
        family.end()
    listener.close()
    held.close()
    if family.hopeless:
        raise SystemExit(f"The {family.hopeless[0]} does not start; what it said is above.")


def _check(names: Sequence[str]) -> None:
    for name in names:
        if name not in EXAMPLES:
            raise SystemExit(f"There is no example {name!r}: there are {', '.join(EXAMPLES)}.")
    needed = {module for name in names for module in EXAMPLES[name].needs}
    missing = sorted(module for module in needed if find_spec(module) is None)
    if missing:
        raise SystemExit(f"The demo needs {', '.join(missing)}: pip install 'milepost[demo]'")


def _start_hubs(
    family: _Family, hub: list[str], engine: str, data_dir: Path, secret: str, listener: socket.socket
) -> tuple[str, str]:
    """Starts a store where none is given, the hubs on it, and nginx in place of ``listener``; all answer then.

    Returns the store's URL, and words for where its data is when that is not in ``data_dir``.
    """
    engine_folder = None
    if engine in neighbours.STORES:
        store = neighbours.make_store(engine, data_dir, secret)
        family.start(store.program.name, store.program.guarded())
        engine = store.url
        engine_folder = None if store.program.folder.is_relative_to(data_dir) else store.program.folder
        _await(family, store.answers, store.program.name)
    ports = [neighbours.free_port() for _ in range(HUBS)]
    for number, port in enumerate(ports, 1):
        listen = partial(_bound, port)
        family.start(f"hub {number}", hub, listen, {"MILEPOST_ENGINE": engine, **_redis_of(engine)})
    for number, port in enumerate(ports, 1):
        _await(family, lambda port=port: _is_ready(port), f"hub {number}")  # type: ignore[misc]
    address = listener.getsockname()[:2]
    listener.close()
    nginx = neighbours.make_nginx(data_dir, address, ports)
    family.start(nginx.name, nginx.guarded())
    _await(family, lambda: _is_ready(address[1], address[0]), nginx.name)
    elsewhere = "" if engine_folder is None else f" (its data is in {engine_folder})"
    return engine, elsewhere


def _redis_of(store: str) -> dict[str, str]:
    """Where the engine is a Redis, a worker may publish on it too."""
    return {REDIS: store.partition("?")[0]} if neighbours.is_redis(store) else {}


def _await(family: _Family, look: Callable[[], bool], name: str) -> None:
    """Returns when ``look`` is true, or the family ends. Raises SystemExit where neither is so for long."""
    until = time.monotonic() + neighbours.START_SECONDS
    while not look() and not family.stop.wait(0.05):
        if time.monotonic() > until:
            raise SystemExit(f"The {name} does not answer.")


def _is_ready(port: int, host: str = "127.0.0.1") -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where everybody listens, we are too
    try:
        with urllib.request.urlopen(f"http://{f'[{host}]' if ':' in host else host}:{port}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


class _Family:
    """All processes of a demo, oldest first."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._children: list[_Child] = []

    @property
    def hopeless(self) -> list[str]:
        """Those that never start."""
        return [child.name for child in self._children if child.hopeless]

    def start(
        self,
        name: str,
        arguments: list[str],
        listen: Callable[[], socket.socket] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Adds one and keeps it running. Each time it starts, it is handed the socket that ``listen`` makes."""
        if self.stop.is_set():
            return
        self._children.append(_Child(name, arguments, self.stop, listen, environment or {}))
        self._children[-1].start()

    def end(self) -> None:
        """Ends all of them: the hubs, then who works for them, and then what they stand on."""
        self.stop.set()
        order = ("hub", "worker", "nginx")
        for child in sorted(self._children, key=lambda child: [*order, child.name].index(child.name.split()[0])):
            child.end()


class _Child:
    """One process that is started again whenever it ends before it should."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        stop: threading.Event,
        listen: Callable[[], socket.socket] | None,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.hopeless = False
        self._arguments = arguments
        self._stop = stop
        self._listen = listen
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    def start(self) -> None:
        """Begins to keep it running."""
        self._thread.start()

    def end(self) -> None:
        """Ends it, gently at first."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(END_SECONDS)
        if process is not None and process.poll() is None:
            process.kill()

    def _keep(self) -> None:
        quick = 0
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self._process = self._start_process()
            except OSError as error:  # its port was taken in the moment between two of its lives
                code: object = error.strerror
                self._stop.wait(1)
            else:
                if self._stop.is_set():  # ended while it was being started
                    self._process.terminate()
                with self._process as process:
                    code = process.wait()
            if self._stop.is_set():
                return
            quick = quick + 1 if time.monotonic() - started < STEADY_SECONDS else 0
            print(f"· {self.name} ended ({code}), starting it again", flush=True)
            if quick >= QUICK_DEATHS:
                self.hopeless = True
                self._stop.set()

    def _start_process(self) -> subprocess.Popen[bytes]:
        door = self._listen() if self._listen else None
        given = ["--fd", str(door.fileno())] if door else []
        try:
            return subprocess.Popen(
                # -P: the folder of the program must not hide a module of Python's own
                [sys.executable, "-P", str(_PROGRAM), *self._arguments, *given],
                stdin=subprocess.PIPE,  # it ends when this process does, whose end of the pipe then closes
                pass_fds=[door.fileno()] if door else [],
                env={**os.environ, **self._environment},
                process_group=0,  # Ctrl-C is for this process alone, which ends the others in good order
            )
        finally:
            if door:
                door.close()


def make_secret(data_dir: Path) -> str:
    """The secret that signs tokens and cookies: made once, kept beside the data, readable by its owner only."""
    path = data_dir / "secret"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
        return path.read_text()


def _hold(data_dir: Path) -> IO[str]:
    """Keeps a second demo off the same folder."""
    held = (data_dir / "running").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"Another demo is running on {data_dir}.") from None
    return held


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise SystemExit(
            f"Port {port} on {host} cannot be used: {error.strerror or error}. Choose another one."
        ) from None


def _bound(port: int) -> socket.socket:
    """A hub's own socket, on which the hub itself will listen: until then, and once it is dead, the port refuses."""
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind(("127.0.0.1", port))
    return door
