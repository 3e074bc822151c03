"""Producers that note what was acknowledged, readers that note what they were shown, and who compares the two."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.server.sse_client import BadStreamError, Stream

PATIENCE = 60.0


@dataclass
class Acknowledged:
    """What the hub has said yes to."""

    jobs: dict[str, str | None] = field(default_factory=dict)  # id → the end acknowledged, None: abandoned
    notifications: set[str] = field(default_factory=set)
    unanswered: int = 0


class Producer(threading.Thread):
    """Starts jobs, reports on them, ends most of them, abandons some, and notifies; retries until it is answered."""

    def __init__(self, name: str, url: str, token: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.acknowledged = Acknowledged()
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self._random = random.Random(f"{seed} {name}")
        self._http = httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=10)

    def run(self) -> None:
        """Work until told to stop; a piece of work that was begun is finished."""
        try:
            number = 0
            while not self.stop.is_set():
                number += 1
                self._work(f"{self.name}-{number}")
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error
        finally:
            self._http.close()

    def _work(self, job: str) -> None:
        rounds = self._random.randint(1, 4)
        self._send("POST", "/api/jobs", {"id": job, "title": job, "owner": "reader", "total": rounds}, key=f"s-{job}")
        self.acknowledged.jobs[job] = None
        for current in range(1, rounds + 1):
            self._send("PATCH", f"/api/jobs/{job}", {"current": current})
        fate = self._random.random()
        if fate > 0.05:
            end = "complete" if fate > 0.2 else "fail"
            body = {"result": {"rounds": rounds}} if end == "complete" else {"code": "TEMPLATE_ERROR"}
            self._send("POST", f"/api/jobs/{job}/{end}", body, key=f"e-{job}")
            self.acknowledged.jobs[job] = "completed" if end == "complete" else "failed"
        answer = self._send("POST", "/api/notifications", {"user": "reader", "title": job}, key=f"n-{job}")
        self.acknowledged.notifications.add(answer["notification"]["id"])

    def _send(self, method: str, path: str, body: Any, key: str | None = None) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                headers = {} if key is None else {"idempotency-key": key}
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx2.TransportError:
                self.acknowledged.unanswered += 1
                assert time.monotonic() < until, f"{method} {path}: no answer"
                time.sleep(self._random.uniform(0.005, 0.04))
                continue
            if answer.status_code != 503:
                assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
                return answer.json()
            time.sleep(0.02)


class Reader(threading.Thread):
    """Follows one user's stream through any number of connections, and resumes from the last id that it was sent."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(daemon=True)
        self.cursor: str | None = None
        self.newest: dict[tuple[str, str], dict[str, Any]] = {}
        self.faults: list[str] = []
        self.connections = 0
        self.stop = threading.Event()
        self._port = port
        self._token = token
        self._revision = 0

    def run(self) -> None:
        """Read until told to stop."""
        while not self.stop.is_set():
            try:
                self._follow()
            except BadStreamError as error:
                if "cut" not in str(error):
                    self.faults.append(f"malformed: {error}")
            except (OSError, EOFError):
                pass  # the hub is away, or has ended the stream
            time.sleep(0.005)

    def _follow(self) -> None:
        headers = {} if self.cursor is None else {"last-event-id": self.cursor}
        with Stream(self._port, "/api/stream", self._token, headers=headers) as stream:
            self.connections += 1
            while not self.stop.is_set():
                with contextlib.suppress(TimeoutError):
                    self.take(stream.next(0.2))

    def take(self, event: Any) -> None:
        """One event, checked against all before it."""
        if event.name == "reset":
            self.faults.append(f"reset: {event.data}")
        if event.id:
            revision = int(event.id.split(".")[1])
            if event.name in ("job", "notification"):
                if revision <= self._revision:
                    self.faults.append(f"revision {revision} after {self._revision}")
                self._revision = revision
                document = event.json[event.name]
                self.newest[event.name, document["id"]] = document
            self.cursor = event.id


def wait_until(look: Callable[[], Any], *, seconds: float, what: str) -> None:
    """Fails unless ``look`` is true in time."""
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
