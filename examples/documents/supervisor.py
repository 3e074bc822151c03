"""Starts hub and page (one process) and the workers (one process each), restarts whichever dies, ends all together.

The listening socket belongs to this process: while the hub is being restarted, browsers wait instead of being refused.
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
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

WORKERS: Final = 2
STEADY_SECONDS: Final = 5.0  # a child that lived so long has started well
QUICK_DEATHS: Final = 5  # so many deaths in a row before that: it will never start
END_SECONDS: Final = 25.0  # the hub lets its streams go one by one; after this it is killed

_PROGRAM = Path(__file__).with_name("__main__.py")


def run(
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

    ``engine`` is the hub's (a SQLite file in ``data_dir`` by default), ``output`` where documents are written,
    ``token_seconds`` how long a visitor's token lives. Raises SystemExit with a sentence where it cannot start.
    """
    missing = [name for name in ("font_source_serif_pro", "jinja2", "reportlab") if find_spec(name) is None]
    if missing:
        raise SystemExit(f"The demo needs {', '.join(missing)}: pip install 'milepost[demo]'")
    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    held = _hold(data_dir)
    listener = _listen(host, port)
    make_secret(data_dir)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    shared = ["--data-dir", str(data_dir), "--url", url, "--output", str(output or data_dir / "files")]
    hub = ["hub", *shared, "--fd", str(listener.fileno()), "--token-seconds", str(token_seconds)]
    stop = threading.Event()
    children = [
        # An engine's URL may hold a password, which an argument would show to everybody on the machine.
        _Child("hub", hub, stop, listener, MILEPOST_ENGINE=engine or f"sqlite:///{data_dir / 'milepost.db'}"),
        *(_Child(f"worker {number}", ["worker", *shared], stop) for number in range(1, WORKERS + 1)),
    ]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"Casefile runs at {url} (Ctrl-C ends it; its data is in {data_dir})", flush=True)
    for child in children:
        child.start()
    if open_browser:
        webbrowser.open(url)
    stop.wait()
    for child in children:
        child.end()
    listener.close()
    held.close()
    hopeless = [child.name for child in children if child.hopeless]
    if hopeless:
        raise SystemExit(f"The {hopeless[0]} does not start; what it said is above.")


class _Child:
    """One process that is started again whenever it ends before it should."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        stop: threading.Event,
        listener: socket.socket | None = None,
        **environment: str,
    ) -> None:
        self.name = name
        self.hopeless = False
        self._arguments = arguments
        self._stop = stop
        self._listener = listener
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
            self._process = subprocess.Popen(
                # -P: the folder of the program must not hide a module of Python's own
                [sys.executable, "-P", str(_PROGRAM), *self._arguments],
                stdin=subprocess.PIPE,  # it ends when this process does, whose end of the pipe then closes
                pass_fds=[self._listener.fileno()] if self._listener else [],
                env={**os.environ, **self._environment},
                process_group=0,  # Ctrl-C is for this process alone, which ends the others in good order
            )
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
