"""A real server in a process of its own: uvicorn on a free loopback port, over a SQLite file of its own."""

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

import httpx2

from milepost.auth import issue_token
from tests.server.sse_client import Stream

T = TypeVar("T")

SECRET = "a-secret-of-the-tests-0123456789abcdef"
RUN = """
import sys
from milepost.server import serve
from milepost.settings import Settings
sys.exit(serve(Settings.load()))
"""
# uvicorn as it comes, without our protocol: every other ASGI server is served this way
PLAIN = """
import asyncio, uvicorn
from milepost.server import create_app
from milepost.server.run import listen
from milepost.settings import Settings

settings = Settings.load()
listener = listen(settings.host, settings.port)
print("listening on http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
config = uvicorn.Config(create_app(settings), http="httptools", log_level="warning", server_header=False)
server = uvicorn.Server(config)
asyncio.run(server.serve([listener]))
"""
START_SECONDS = 60.0


def wait_until(look: Callable[[], T | None], *, seconds: float = 10.0, what: str = "") -> T:
    """What ``look`` gives as soon as that is true; fails after the deadline."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)
    return found


def answers(url: str) -> bool:
    """Whether a GET is answered 2xx, within 5 s."""
    try:
        return httpx2.get(url).is_success
    except httpx2.TransportError:
        return False


class Server:
    """A server and what one needs to talk to it. ``settings`` are those of contract section 6, in lower case."""

    def __init__(self, folder: Path, *, toml: str = "", code: str = RUN, **settings: Any) -> None:
        self.folder = folder
        self.port = 0
        self._code = code
        self._settings = {"secret": SECRET, "connect_rate": 0, "engine": f"sqlite:///{folder}/hub.db", **settings}
        (folder / "milepost.toml").write_text(toml)
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx2.Client()

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://{self._settings.get('host', '127.0.0.1')}:{self.port}"

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "server.log").read_text()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers; again on the same port where it was up before."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        own = {f"MILEPOST_{name.upper()}": str(value) for name, value in self._settings.items()}
        (self.folder / "server.log").touch()
        told = len(self.log)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._code],
                cwd=self.folder,
                env={**kept, "MILEPOST_PORT": str(self.port), **own, "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=log,
            )
        found = wait_until(lambda: self._listening(told), seconds=START_SECONDS, what="the server listens")
        self.port = int(found[1])
        self.http.close()
        self.http = httpx2.Client(base_url=self.url, timeout=40)
        wait_until(self._ready, seconds=START_SECONDS, what="the server is ready")

    def _listening(self, told: int) -> re.Match[str] | None:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return re.search(r"listening on http://[\d.]+:(\d+)", self.log[told:])

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            return bool(self.http.get("/readyz").status_code == 200)
        except httpx2.TransportError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        self.http.close()

    # --- talking to it ------------------------------------------------------------------------------------------

    def someone(self, user: str = "u7", tenant: str = "default", scope: str = "consume produce", **more: Any) -> Client:
        """Somebody with a token."""
        return Client(self, token(user, tenant, scope, **more), user, tenant)

    def stream(self, path: str, token: str | None = None, **more: Any) -> Stream:
        """Open a stream below ``/api``."""
        return Stream(self.port, f"/api{path}", token, **more)

    def metric(self, name: str) -> float:
        """A sample of ``/metrics``, by its name and labels as they are printed."""
        text = self.http.get("/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, f"no {name} in\n{text}"
        return float(found[1])

    @property
    def streams(self) -> int:
        """How many are open, by its own gauge."""
        return int(self.metric("sse_connections_total"))


def token(user: str = "u7", tenant: str = "default", scope: str = "consume produce", **more: Any) -> str:
    """A token that every server here accepts."""
    return issue_token(SECRET, user=user, tenant=tenant, scope=scope, **more)


ADMIN_TOKEN = token("root", "operators", "admin", ttl=7200.0)


class Client:
    """One person's requests. Paths are below ``/api``."""

    def __init__(self, server: Server, token: str, user: str, tenant: str) -> None:
        self.server = server
        self.token = token
        self.user = user
        self.tenant = tenant

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        """One request, whatever comes of it. ``body``: bytes as they are, else as JSON."""
        headers = {"authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        content = {} if body is None else {"content": body} if isinstance(body, bytes) else {"json": body}
        return self.server.http.request(method, f"/api{path}", headers=headers, **content, **more)

    def get(self, path: str, **more: Any) -> Any:
        """The JSON of an answer that has to be 200."""
        return self._fine(self.call("GET", path, **more))

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON of an answer that has to be 2xx."""
        return self._fine(self.call("POST", path, {} if body is None else body, **more))

    def patch(self, path: str, body: Any, **more: Any) -> Any:
        """The JSON of an answer that has to be 2xx."""
        return self._fine(self.call("PATCH", path, body, **more))

    @staticmethod
    def _fine(answer: httpx2.Response) -> Any:
        assert answer.is_success, (
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
        )
        return answer.json()

    def job(self, id: str, **more: Any) -> Any:
        """Start a job; as it is then."""
        return self.post("/jobs", {"id": id, "title": f"Job {id}", **more})["job"]

    def notify(self, user: str | None = None, title: str = "News", **more: Any) -> Any:
        """Tell a user (by default oneself); the notification."""
        to = {} if "everyone" in more else {"user": user or self.user}
        return self.post("/notifications", {**to, "title": title, **more})["notification"]

    def stream(self, path: str = "/stream", **more: Any) -> Stream:
        """Open a stream."""
        return self.server.stream(path, self.token, **more)

    def other(self, user: str, scope: str = "consume produce", **more: Any) -> Client:
        """Somebody else of the same tenant."""
        return self.server.someone(user, self.tenant, scope, **more)


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is the problem document of this code; its members."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert isinstance(problem["title"], str)
    assert isinstance(problem["detail"], str)
    return problem
