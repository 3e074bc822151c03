"""Each product's own event names and payload shapes: one document in, one frame out. Pure.

A dialect is a class with the methods of ``Dialect``. ``milepost`` is the canonical one; ``document`` is product D's.
Another is registered by ``register(MyDialect())`` and chosen by ``?dialect=``, a tenant's setting, or a job's kind.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from milepost import wire
from milepost.engine import Document
from milepost.model import dumps


class Frame(NamedTuple):
    """What a document becomes on the wire; with ``tail`` the reader's own unread count is still to follow.

    ``event`` is the canonical name, for the metrics: ``job``, ``notification`` or ``inbox``.
    """

    data: bytes
    event: str
    tail: bool = False


class Dialect:
    """The seam. Every method may return b"" (or None): this dialect has no such event.

    ``name`` is what ``?dialect=`` says; ``beat_seconds`` its heartbeat, None = the server's setting.
    """

    name = ""
    beat_seconds: float | None = None

    def connected(self, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
        """The first bytes of a stream. Never empty: a proxy may hold the headers back until it has seen some."""
        return wire.comment("connected")

    def document(self, document: Document, cursor: str) -> Frame | None:
        """A job or a notification, encoded once for all its readers."""
        raise NotImplementedError

    def inbox(self, *, unread: int, read_up_to: int, as_of: str, cursor: str) -> bytes:
        """The reader's inbox."""
        return b""

    def live(self, cursor: str) -> bytes:
        """The edge between catching up and live."""
        return b""

    def heartbeat(self, *, now: float, cursor: str | None, degraded: bool) -> bytes:
        """A sign of life."""
        return wire.comment("heartbeat")

    def reset(self, reason: str) -> bytes:
        """The cursor could not be resumed from."""
        return b""

    def stream_end(self, reason: str, retry_ms: int) -> bytes:
        """The last event."""
        return b""

    def refusal(self, reason: str, retry_ms: int) -> bytes:
        """The only event for a native EventSource that is refused but shall come again after ``retry_ms``."""
        return wire.stream_end(reason, retry_ms)


class Milepost(Dialect):
    """The canonical eight events."""

    name = "milepost"

    def connected(self, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
        """``connected``."""
        return wire.connected(now=now, cursor=cursor, heartbeat_seconds=heartbeat_seconds)

    def document(self, document: Document, cursor: str) -> Frame | None:
        """``job`` or ``notification``."""
        if document.kind == "job":
            return Frame(wire.job(document, cursor), "job")
        if document.kind == "notification":
            return Frame(wire.notification(document, cursor), "notification", tail=True)
        return None

    def inbox(self, *, unread: int, read_up_to: int, as_of: str, cursor: str) -> bytes:
        """``inbox``."""
        return wire.inbox(unread=unread, read_up_to=read_up_to, as_of=as_of, cursor=cursor)

    def live(self, cursor: str) -> bytes:
        """``live``."""
        return wire.live(cursor)

    def heartbeat(self, *, now: float, cursor: str | None, degraded: bool) -> bytes:
        """``heartbeat``."""
        return wire.heartbeat(now=now, cursor=cursor, degraded=degraded)

    def reset(self, reason: str) -> bytes:
        """``reset``."""
        return wire.reset(reason)

    def stream_end(self, reason: str, retry_ms: int) -> bytes:
        """``stream_end``."""
        return wire.stream_end(reason, retry_ms)


class DocumentDialect(Dialect):
    """Product D: ``progress``, ``complete``, ``error``; heartbeats are comments. Requirements section 3."""

    name = "document"

    def document(self, document: Document, cursor: str) -> Frame | None:
        """One of D's three events; a stalled job is not told, for D has no word for it."""
        if document.kind != "job" or document.gone:
            return None
        job = orjson.loads(document.body)
        event, data = self._event(job)
        return Frame(wire.frame(event, dumps(data), id=cursor), "job") if event else None

    @staticmethod
    def _event(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = {"jobId": job["id"]}
        match job["state"]:
            case "queued" | "running":
                progress = {"current": job["current"], "total": job["total"], "message": job["message"]}
                return "progress", {**name, **progress}
            case "completed":
                done: dict[str, Any] = {**name, "total": job["total"]}
                if job["output_url"] is not None:
                    done["outputUrl"] = job["output_url"]
                return "complete", done
            case "failed":
                return "error", {**name, "code": job["error"]["code"], "message": job["error"]["message"]}
            case "cancelled":
                return "error", {**name, "code": "CANCELLED", "message": job["message"]}
        return "", {}


_REGISTRY: dict[str, Dialect] = {}


def register(dialect: Dialect) -> None:
    """Make a dialect available under its name, in place of one that had it."""
    _REGISTRY[dialect.name] = dialect


def dialect(name: str) -> Dialect | None:
    """The dialect of that name, if there is one."""
    return _REGISTRY.get(name)


MILEPOST = Milepost()
register(MILEPOST)
register(DocumentDialect())
