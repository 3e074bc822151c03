"""The words of Milepost as frozen values: Job, Notification, Identity, Cursor. JSON in, JSON out.

Times are UNIX seconds (float, UTC) in Python and RFC 3339 with milliseconds and a ``Z`` in JSON. A value never
changes; the rules in ``jobs`` and ``inbox`` make new ones.

A stored document has two parts. Its *body* is the JSON that readers get, byte for byte, without its revision (which is
known only after the commit). Its *private* part holds what only the rules need.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import orjson

JobState = Literal["queued", "running", "stalled", "completed", "failed", "cancelled"]
Level = Literal["info", "success", "warning", "error"]
Status = Literal["unread", "read", "archived"]

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
ID_PATTERN: Final = r"[A-Za-z0-9._:-]{1,128}"
_ID = re.compile(ID_PATTERN)


def is_id(text: object) -> bool:
    """Whether ``text`` may name a job, a notification, a user or a tenant."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


@lru_cache(maxsize=1024)  # what is committed together has the same times, and a job has most of its own for long
def to_rfc3339(seconds: float | None) -> str | None:
    """UNIX seconds as RFC 3339 in UTC with milliseconds, ending in ``Z``."""
    if seconds is None:
        return None
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micro // 1000:03}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    # A job's times are written again with each of its updates, and most jobs share their seconds.
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def from_rfc3339(text: str | None) -> float | None:
    """The inverse of ``to_rfc3339``."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def dumps(value: object) -> bytes:
    """JSON on one line, with U+2028 and U+2029 escaped: some stream readers take them for line ends."""
    data = orjson.dumps(value)
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data


class Cursor(NamedTuple):
    """A place in a tenant's history: everything up to ``revision`` of ``epoch`` has been seen."""

    epoch: str
    revision: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: made by ``auth`` from a verified token or ticket, or by an application's own sign-in.

    ``scopes`` ⊆ {consume, produce, produce:any, admin}; ``jobs`` are the jobs that a share token opens;
    ``expires_at`` is when the credential ends (UNIX seconds, None = never).
    """

    user: str
    tenant: str = "default"
    scopes: frozenset[str] = frozenset({"consume"})
    jobs: tuple[str, ...] = ()
    expires_at: float | None = None

    @property
    def audiences(self) -> tuple[str, ...]:
        """What is addressed to this identity: its own user, everyone, and the jobs that its token shares."""
        return (f"user:{self.user}", "everyone", *(f"job:{job}" for job in self.jobs))

    def may(self, scope: str) -> bool:
        """Whether the identity holds a scope; ``admin`` holds all, ``produce:any`` holds ``produce``."""
        return scope in self.scopes or "admin" in self.scopes or (scope == "produce" and "produce:any" in self.scopes)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job moves: (time, current) samples of this attempt, oldest first, thinned to a bounded number."""

    samples: tuple[tuple[float, float], ...] = ()
    updates: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed: a code of the taxonomy or the producer's own, a sentence, and anything more."""

    code: str
    message: str = ""
    details: Any = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in a job's ``error``."""
        return {"code": self.code, "message": self.message, "details": self.details}


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work that somebody waits for. Field by field as in contract section 1."""

    id: str
    kind: str
    title: str
    owner: str
    created_at: float
    updated_at: float
    watchers: tuple[str, ...] = ()
    state: JobState = "queued"
    attempt: int = 1
    current: float = 0
    total: float | None = None
    message: str = ""
    counters: Mapping[str, float] = field(default_factory=dict)
    item: Mapping[str, Any] | None = None
    eta_seconds: float | None = None
    rate: float | None = None
    result: Any = None
    output_url: str | None = None
    error: Failure | None = None
    started_at: float | None = None
    finished_at: float | None = None
    rev: int = 0
    # private: stored beside the body, never sent to a stream
    steps: tuple[tuple[float, str], ...] = ()
    creator: str = ""
    notify: bool = False
    seen_at: float = 0.0
    deadline_seconds: float | None = None
    total_deadline_seconds: float | None = None
    attempt_at: float = 0.0
    pace: Pace = Pace()

    @property
    def key(self) -> str:
        """The document's key in the engine."""
        return f"job:{self.id}"

    @property
    def ended(self) -> bool:
        """Whether the state is one that only a new attempt leaves."""
        return self.state in TERMINAL

    @property
    def percent(self) -> float | None:
        """0-100 with one decimal; None while the total is unknown; 100 only when ``current`` equals ``total``."""
        if self.total is None:
            return None
        if self.current >= self.total:
            return 100.0
        # 9999 of 10000 must not round up to "100 %" before it is
        return min(99.9, round(100.0 * self.current / self.total, 1))

    @property
    def audiences(self) -> tuple[str, ...]:
        """Who sees it: the owner, the watchers, and whoever holds a token that shares this job."""
        return tuple(dict.fromkeys([f"user:{self.owner}", *(f"user:{w}" for w in self.watchers), f"job:{self.id}"]))

    def to_json(self, *, steps: bool = False) -> dict[str, Any]:
        """The public fields without ``rev`` and, unless asked for, without ``steps``."""
        out: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "title": self.title,
            "owner": self.owner,
            "watchers": list(self.watchers),
            "state": self.state,
            "attempt": self.attempt,
            "current": self.current,
            "total": self.total,
            "percent": self.percent,
            "message": self.message,
            "counters": dict(self.counters),
            "item": None if self.item is None else dict(self.item),
            "eta_seconds": self.eta_seconds,
            "rate": self.rate,
            "result": self.result,
            "output_url": self.output_url,
            "error": None if self.error is None else self.error.to_json(),
            "created_at": to_rfc3339(self.created_at),
            "started_at": to_rfc3339(self.started_at),
            "updated_at": to_rfc3339(self.updated_at),
            "finished_at": to_rfc3339(self.finished_at),
        }
        if steps:
            out["steps"] = [{"at": to_rfc3339(at), "message": text} for at, text in self.steps]
        return out

    def full_json(self) -> dict[str, Any]:
        """Every public field, as ``GET /api/jobs/{id}`` answers it."""
        return {**self.to_json(steps=True), "rev": self.rev}

    def dump(self) -> tuple[bytes, bytes]:
        """(body, private) as the engine stores them."""
        private = [
            self.steps,
            self.creator,
            self.notify,
            self.seen_at,
            self.deadline_seconds,
            self.total_deadline_seconds,
            self.attempt_at,
            self.pace.samples,
            self.pace.updates,
        ]
        return dumps(self.to_json()), orjson.dumps(private)

    @classmethod
    def load(cls, body: bytes, private: bytes, rev: int) -> Job:
        """The inverse of ``dump``; ``rev`` is the document's revision."""
        raw = orjson.loads(body)
        steps, creator, notify, seen_at, deadline, total_deadline, attempt_at, samples, updates = orjson.loads(private)
        error = raw["error"]
        return cls(
            id=raw["id"],
            kind=raw["kind"],
            title=raw["title"],
            owner=raw["owner"],
            watchers=tuple(raw["watchers"]),
            state=raw["state"],
            attempt=raw["attempt"],
            current=raw["current"],
            total=raw["total"],
            message=raw["message"],
            counters=raw["counters"],
            item=raw["item"],
            eta_seconds=raw["eta_seconds"],
            rate=raw["rate"],
            result=raw["result"],
            output_url=raw["output_url"],
            error=None if error is None else Failure(error["code"], error["message"], error["details"]),
            created_at=_seconds(raw["created_at"]),
            started_at=from_rfc3339(raw["started_at"]),
            updated_at=_seconds(raw["updated_at"]),
            finished_at=from_rfc3339(raw["finished_at"]),
            rev=rev,
            steps=tuple(map(tuple, steps)),
            creator=creator,
            notify=notify,
            seen_at=seen_at,
            deadline_seconds=deadline,
            total_deadline_seconds=total_deadline,
            attempt_at=attempt_at,
            pace=Pace(tuple(map(tuple, samples)), updates),
        )


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that happened and concerns one user, or (``user`` None) everyone in the tenant."""

    id: str
    title: str
    created_at: float
    user: str | None = None
    level: Level = "info"
    message: str = ""
    href: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "unread"
    read_at: float | None = None
    seq: int = 0
    rev: int = 0

    @property
    def key(self) -> str:
        """The document's key; a broadcast's own copies stand under ``<key>@<audience>``."""
        return f"notification:{self.id}"

    @property
    def audience(self) -> str:
        """The one audience that it is addressed to."""
        return "everyone" if self.user is None else f"user:{self.user}"

    def to_json(self) -> dict[str, Any]:
        """The public fields without ``seq`` and ``rev``, which only the engine knows."""
        return {
            "id": self.id,
            "user": self.user,
            "level": self.level,
            "title": self.title,
            "message": self.message,
            "text": self.message or self.title,
            "href": self.href,
            "context": dict(self.context),
            "status": self.status,
            "created_at": to_rfc3339(self.created_at),
            "read_at": to_rfc3339(self.read_at),
        }

    def full_json(self) -> dict[str, Any]:
        """Every public field."""
        return {**self.to_json(), "seq": self.seq, "rev": self.rev}

    @classmethod
    def load(cls, body: bytes, seq: int, rev: int) -> Notification:
        """From a stored body; ``seq`` is the document's order, ``rev`` its revision."""
        raw = orjson.loads(body)
        return cls(
            id=raw["id"],
            title=raw["title"],
            created_at=_seconds(raw["created_at"]),
            user=raw["user"],
            level=raw["level"],
            message=raw["message"],
            href=raw["href"],
            context=raw["context"],
            status=raw["status"],
            read_at=from_rfc3339(raw["read_at"]),
            seq=seq,
            rev=rev,
        )

    def seen_through(self, read_up_to: int) -> Notification:
        """The same, read where ``seq`` is covered by the inbox's ``read_up_to``."""
        if self.status == "unread" and self.seq <= read_up_to:
            return replace(self, status="read")
        return self


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
