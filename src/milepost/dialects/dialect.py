"""The seam between what is stored and what a product's own pages understand."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from milepost import wire
from milepost.engine import Document
from milepost.model import TERMINAL, dumps, to_rfc3339

# Ends that a stream does not come back from by itself; after any other one, a browser's EventSource resumes.
FINAL: Final = TERMINAL | {"revoked", "token_expired"}


class Frame(NamedTuple):
    """What a document becomes on the wire; with ``tail`` the reader's own unread count is still to follow.

    ``event`` is the canonical name, for the metrics: ``job``, ``notification`` or ``inbox``.
    """

    data: bytes
    event: str
    tail: bool = False


class Reader(NamedTuple):
    """Whose stream it is: what may be said in its first event and in its last.

    ``job`` is the id of the one job that it follows; ``connections`` counts this user's streams on this process.
    """

    user: str
    job: str | None = None
    connections: int = 1


class Dialect:
    """One vocabulary. Every method may return b"" (or None): this dialect has no such event.

    Only ``document`` has to be written. A frame is made by ``wire.frame``; one that tells of a document carries
    ``id=cursor``. Times are UNIX seconds. One object serves all streams, so it keeps nothing between two calls.
    """

    name = ""  # what ``?dialect=`` says, and the kind of the jobs whose streams speak it
    beat_seconds: float | None = None  # between heartbeats; None: the server's setting
    counts_connections = False  # whether a heartbeat says ``connections``
    news_only = False  # a stream without a cursor begins with what is created from then on

    def connected(self, reader: Reader, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
        """The first bytes of a stream. Never empty: a proxy may hold the headers back until it has seen some.

        ``cursor``: all up to it has been sent, or (``news_only``) is no news; None where the present state follows.
        """
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

    def heartbeat(self, *, now: float, cursor: str | None, degraded: bool, connections: int) -> bytes:
        """A sign of life, encoded once for all who are due."""
        return wire.comment("heartbeat")

    def reset(self, reason: str) -> bytes:
        """The cursor could not be resumed from."""
        return b""

    def stream_end(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        """The last event; ``reason`` is one of ``wire.END_REASONS``."""
        return b""

    def refusal(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        """The only event for a native EventSource that is refused but shall come again after ``retry_ms``.

        By default one that no page ends its stream at.
        """
        return wire.frame("heartbeat", dumps({"timestamp": to_rfc3339(now)}), retry=retry_ms)

    def listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        """The answer of ``GET /api/notifications``, of which this is the canonical one."""
        return listing


class Beating(Dialect):
    """What products A, C, T and E share: their sign of life is an event with a time, under a name of its own.

    A stream that is to come back ends with one more of them, which says when: an event that a page knows and does not
    stop at.
    """

    beat_event = "heartbeat"

    def heartbeat(self, *, now: float, cursor: str | None, degraded: bool, connections: int) -> bytes:
        """Without an id, so that it never becomes a browser's Last-Event-ID."""
        return self._beat(now, connections)

    def stream_end(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        """The job's own last event is the end; any other end is only a pause."""
        return b"" if reason in FINAL - {"token_expired"} else self._beat(now, reader.connections, retry_ms)

    def refusal(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        """Come again."""
        return self._beat(now, reader.connections, retry_ms)

    def _beat(self, now: float, connections: int, retry_ms: int | None = None) -> bytes:
        data: dict[str, Any] = {"timestamp": to_rfc3339(now)}
        if self.counts_connections:
            data["connections"] = connections
        return wire.frame(self.beat_event, dumps(data), retry=retry_ms)


def percent(job: dict[str, Any]) -> float:
    """A job's percent, 0 while its total is unknown; whole where it is a whole number."""
    value: float = job["percent"] or 0
    return int(value) if value == int(value) else value
