"""What goes over the wire: sealed cursors, SSE frames, the eight canonical events. Sans-I/O.

The framing follows the WHATWG HTML standard, section 9.2 "Server-sent events", and what 23 real clients were seen to
do with its corners: LF line ends, JSON on one line, every document event carries its id, no block that holds only
``id`` or only ``retry``.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import Any, Final

from milepost.engine import Document
from milepost.model import Cursor, dumps, to_rfc3339

PROTOCOL: Final = 1
MAX_CURSOR: Final = 64
SEALED: Final = 256  # cursors whose text is remembered

# Why a stream ends, told in ``stream_end``.
END_REASONS: Final = (
    "completed",
    "failed",
    "cancelled",
    "token_expired",
    "revoked",
    "timeout",
    "shutdown",
    "overloaded",
    "rate_limited",
    "replaced",
)


class CursorSeal:
    """Cursors as clients see them: ``<epoch>.<revision>.<seal>``, opaque ASCII of at most 64 characters.

    The seal is a keyed hash of the tenant and the rest: a cursor that we did not issue is malformed, never "ahead", so
    nobody can make the engine believe that its history was rewritten, nor learn another tenant's pace by guessing.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        # a page's cursor stands in several of its events, and is the same for all who are told of the same commit
        self.encode = lru_cache(maxsize=SEALED)(self._encode)

    def _encode(self, tenant: str, cursor: Cursor) -> str:
        """The cursor as text."""
        plain = f"{cursor.epoch}.{cursor.revision}"
        return f"{plain}.{self._seal(tenant, plain)}"

    def decode(self, tenant: str, text: str) -> Cursor | None:
        """The cursor that ``encode`` wrote for this tenant; None for anything else."""
        if len(text) > MAX_CURSOR or not text.isascii():
            return None
        plain, _, seal = text.rpartition(".")
        epoch, _, revision = plain.partition(".")
        if not revision.isdigit() or not hmac.compare_digest(seal, self._seal(tenant, plain)):
            return None
        return Cursor(epoch, int(revision))

    def _seal(self, tenant: str, plain: str) -> str:
        return hashlib.blake2s(f"{tenant}\n{plain}".encode(), key=self._key, digest_size=5).hexdigest()


def frame(event: str, data: bytes, *, id: str | None = None, retry: int | None = None) -> bytes:
    """One SSE block. ``event`` "" is an unnamed one; ``data`` is JSON on one line; ``id`` a cursor; ``retry`` in
    milliseconds.
    """
    head = f"event: {event}\n" if event else ""
    if id is not None:
        head += f"id: {id}\n"
    if retry is not None:
        head += f"retry: {retry}\n"
    return b"%bdata: %b\n\n" % (head.encode(), data)


def comment(text: str) -> bytes:
    """A comment line without a blank one behind it: some clients emit an empty event for a blank line alone."""
    return f": {text}\n".encode()


def chunk(data: bytes) -> bytes:
    """Bytes as one chunk of HTTP/1.1 (RFC 9112, section 7.1); b"" would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def subject(key: str) -> str:
    """The key of the document that this one is about: of a user's own copy, or of what a document left behind."""
    return key.partition("!")[0].partition("@")[0]


def public(document: Document) -> bytes:
    """A document as JSON with its revision: its body as stored, not decoded on the way.

    A gone one is ``{"id", "rev", "gone": true}``.
    """
    if document.gone:
        name = subject(document.key).partition(":")[2]
        return dumps({"id": name, "rev": document.revision, "gone": True})
    if document.kind == "notification":
        return b'%b,"seq":%d,"rev":%d}' % (document.body[:-1], document.order, document.revision)
    return b'%b,"rev":%d}' % (document.body[:-1], document.revision)


def connected(*, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
    """The first event: ``cursor`` is the one resumed from."""
    return frame(
        "connected",
        dumps(
            {
                "protocol": PROTOCOL,
                "time": to_rfc3339(now),
                "cursor": cursor,
                "heartbeat_seconds": heartbeat_seconds,
            }
        ),
    )


def job(document: Document, cursor: str) -> bytes:
    """``job`` with the newest state."""
    return frame("job", b'{"job":%b}' % public(document), id=cursor)


def notification(document: Document, cursor: str) -> bytes:
    """``notification`` up to where the reader's own unread count may follow; see ``unread_tail``."""
    return b'event: notification\nid: %b\ndata: {"notification":%b' % (cursor.encode(), public(document))


def unread_tail(unread: int | None, as_of: str) -> bytes:
    """What ends a ``notification`` frame: this user's unread count, or nothing for a broadcast."""
    if unread is None:
        return b"}\n\n"
    return b',"unread":%d,"as_of":"%b"}\n\n' % (unread, as_of.encode())


def inbox(*, unread: int, read_up_to: int, as_of: str, cursor: str) -> bytes:
    """``inbox``: absolute numbers, true at ``as_of``."""
    return frame("inbox", dumps({"unread": unread, "read_up_to": read_up_to, "as_of": as_of}), id=cursor)


def live(cursor: str) -> bytes:
    """The edge between catching up and live: what comes after it is news."""
    return frame("live", dumps({"cursor": cursor}), id=cursor)


def heartbeat(*, now: float, cursor: str | None, degraded: bool) -> bytes:
    """A sign of life. No id: a heartbeat must not become a browser's Last-Event-ID by itself."""
    data: dict[str, Any] = {"time": to_rfc3339(now), "cursor": cursor}
    if degraded:
        data["degraded"] = True
    return frame("heartbeat", dumps(data))


def reset(reason: str) -> bytes:
    """The cursor could not be resumed from; a snapshot follows."""
    return frame("reset", dumps({"reason": reason}))


def stream_end(reason: str, retry_ms: int) -> bytes:
    """The last event. ``retry_ms`` is also given as ``retry:``, which is all that a native EventSource obeys."""
    return frame("stream_end", dumps({"reason": reason, "retry_ms": retry_ms}), retry=retry_ms)
