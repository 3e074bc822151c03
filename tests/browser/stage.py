"""Examples as a person starts them: ``milepost demo``, with its hub, its workers and its pages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from milepost import Milepost
from milepost.auth import issue_token

T = TypeVar("T")


def until(look: Callable[[], T], *, seconds: float = 15.0, what: str = "") -> T:
    """What ``look`` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or look}"
        time.sleep(0.02)
    return found


class Stage:
    """Running examples, or one. ``url`` is the page of the first one; its tenant is meant where none is named."""

    def __init__(self, folder: Path, *names: str, **environment: str) -> None:
        self._log = folder / "demo.log"
        self.data = folder / "data"
        command = [sys.executable, "-m", "milepost", "demo", *names, "--port", "0", "--data-dir", str(self.data)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**inherited, **environment}, cwd=folder
            )
        self.origin = until(self._told_url, what="the demo says where it is")
        self.name = names[0] if names else ""
        self.url = f"{self.origin}/{self.name}"  # below it the hub answers too
        self.port = int(self.origin.rpartition(":")[2])
        self._secret = (self.data / "secret").read_text()
        self._lines: dict[str, Milepost] = {}

    @property
    def log(self) -> str:
        """All that it and its processes have printed."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def hub(self) -> int:
        """The process of hub and page."""
        return until(lambda: self._children("hub"), what="a hub")[0]

    def kill_hub(self) -> None:
        """Kill -9, to its death."""
        pid = self.hub
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in self._children("hub"), what="the hub is dead")

    def hold_hub_back(self, held: bool) -> None:
        """Whether a hub that dies stays away: its supervisor is stopped for so long."""
        os.kill(self._process.pid, signal.SIGSTOP if held else signal.SIGCONT)

    def hold_workers(self, held: bool) -> None:
        """Whether the workers stand still, in the middle of whatever they do."""
        for pid in until(lambda: self._children("worker"), what="workers"):
            os.kill(pid, signal.SIGSTOP if held else signal.SIGCONT)

    def kill_worker(self) -> None:
        """Kill -9 to one worker. It is started again."""
        os.kill(until(lambda: self._children("worker"), what="a worker")[0], signal.SIGKILL)

    def milepost(self, tenant: str = "") -> Milepost:
        """Somebody's program in a tenant."""
        tenant = tenant or self.name
        if tenant not in self._lines:
            token = issue_token(self._secret, user="tests", tenant=tenant, scope="produce", ttl=3600)
            self._lines[tenant] = Milepost(self.origin, token=token)
        return self._lines[tenant]

    def notify(self, visitor: str, title: str, **more: Any) -> None:
        """Somebody's program tells a visitor something."""
        self.milepost().notify(visitor, title=title, **more)

    def token(self, visitor: str, *, seconds: float, tenant: str = "") -> str:
        """A token of a visitor's, as the page gives them, but for as long as a test wants."""
        return issue_token(self._secret, user=visitor, tenant=tenant or self.name, ttl=seconds)

    def close(self) -> None:
        """Ctrl-C. All of it ends, in good order, and nothing went wrong inside it."""
        for line in self._lines.values():
            line.close()
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(30) == 0, self.log
        assert "Traceback" not in self.log, self.log

    def _told_url(self) -> str:
        return "".join(re.findall(r" at (http://\S+) ", self.log))

    def _children(self, role: str) -> list[int]:
        listed = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        pids = [int(pid) for path in listed for pid in path.read_text().split()]
        return [pid for pid in pids if role in _words(pid)]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except FileNotFoundError:
        return []
