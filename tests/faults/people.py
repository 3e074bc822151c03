"""Producers that note what hubs acknowledged, readers that note what hubs showed them, for the checker to judge."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx2

from tests.faults.checker import Account, Record, Seen, seen
from tests.server.sse_client import BadStreamError, Stream

PATIENCE = 60.0
AUDIENCE = "user:reader"


class Producer(threading.Thread):
    """Starts jobs, reports on them, ends most of them, abandons some, and notifies; retries until it is answered.

    Whoever does not answer is left for the next of the ``urls``.
    """

    def __init__(self, name: str, urls: Sequence[str], token: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.account = Account()
        self.abandoned: set[str] = set()
        self.unanswered = 0
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self._random = random.Random(f"{seed} {name}")
        headers = {"authorization": f"Bearer {token}"}
        self._https = [httpx2.Client(base_url=url, headers=headers, timeout=10) for url in urls]
        self._random.shuffle(self._https)
        self._ways = itertools.cycle(self._https)
        self._http = next(self._ways)

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
            for http in self._https:
                http.close()

    def _work(self, job: str) -> None:
        told, rounds, note = self.account, self._random.randint(1, 4), f"note-{job}"
        told.asked |= {job, note}
        body: dict[str, Any] = {"id": job, "title": job, "owner": "reader", "total": rounds}
        told.acknowledged[job] = self._send("POST", "/api/jobs", body, key=f"s-{job}")["job"]["rev"]
        for current in range(1, rounds + 1):
            self._send("PATCH", f"/api/jobs/{job}", {"current": current})
        fate = self._random.random()
        if fate > 0.05:
            end = "complete" if fate > 0.2 else "fail"
            body = {"result": {"rounds": rounds}} if end == "complete" else {"code": "TEMPLATE_ERROR"}
            ended = self._send("POST", f"/api/jobs/{job}/{end}", body, key=f"e-{job}")["job"]
            told.acknowledged[job], told.ends[job] = ended["rev"], ended["state"]
        else:
            self.abandoned.add(job)
        answer = self._send("POST", "/api/notifications", {"user": "reader", "title": note}, key=f"n-{job}")
        told.acknowledged[note] = answer["notification"]["rev"]

    def _send(self, method: str, path: str, body: Any, key: str | None = None) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < until, f"{method} {path}: no answer"
            try:
                headers = {} if key is None else {"idempotency-key": key}
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx2.TransportError:
                self.unanswered += 1
                self._http = next(self._ways)
                time.sleep(self._random.uniform(0.005, 0.04))
                continue
            if answer.status_code != 503:
                assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
                return answer.json()
            time.sleep(0.02)


class Reader(threading.Thread):
    """Follows one user's stream through any number of connections, and resumes from the last id that it was sent.

    It goes to one of the ``ports`` after the other.
    """

    def __init__(self, name: str, ports: Sequence[int], token: str) -> None:
        super().__init__(name=name, daemon=True)
        self.record = Record(name, frozenset({AUDIENCE}))
        self.cursor: str | None = None
        self.malformed: list[str] = []
        self.connections = 0
        self.stop = threading.Event()
        self._ports = itertools.cycle(ports)
        self._token = token

    def run(self) -> None:
        """Read until told to stop."""
        while not self.stop.is_set():
            try:
                self._follow()
            except BadStreamError as error:
                if "cut" not in str(error):
                    self.malformed.append(str(error))
            except (OSError, EOFError):
                pass  # the hub is away, or has ended the stream
            time.sleep(0.005)

    def _follow(self) -> None:
        headers = {} if self.cursor is None else {"last-event-id": self.cursor}
        with Stream(next(self._ports), "/api/stream", self._token, headers=headers) as stream:
            self.connections += 1
            while not self.stop.is_set():
                with contextlib.suppress(TimeoutError):
                    self._take(stream.next(0.2))

    def _take(self, event: Any) -> None:
        if event.name == "reset":
            self.record.shown.append(None)
        elif event.name in ("job", "notification"):
            self.record.shown.append(seen(event.name, event.json[event.name]))
        if event.id:
            self.cursor = event.id

    def has_reached(self, revision: int) -> bool:
        """Whether it was told that it has seen everything up to there."""
        return self.cursor is not None and int(self.cursor.split(".")[1]) >= revision


def listed(url: str, token: str) -> tuple[list[Seen], dict[str, Any]]:
    """All jobs and notifications of a reader as a hub lists them, in the checker's words, and the jobs as they are."""
    jobs: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    with httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}) as http:
        cursor = None
        while True:
            page = http.get("/api/jobs", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
            jobs |= {job["id"]: job for job in page["jobs"]}
            cursor = page["next"]
            if cursor is None:
                break
        before = None
        while True:
            query = {"limit": 100} | ({"before": before} if before else {})
            page = http.get("/api/notifications", params=query).json()
            notes += page["notifications"]
            if not page["more"]:
                break
            before = page["notifications"][-1]["id"]
    found = [seen("job", job, (AUDIENCE,)) for job in jobs.values()]
    return found + [seen("notification", note, (AUDIENCE,)) for note in notes], jobs


def wait_until(look: Callable[[], Any], *, seconds: float, what: str) -> None:
    """Fails unless ``look`` is true in time."""
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
