"""The canonical dialect: what our own clients speak."""

from __future__ import annotations

from milepost import wire
from milepost.dialects.dialect import Dialect, Frame, Reader
from milepost.engine import Document


class Milepost(Dialect):
    """The canonical eight events."""

    name = "milepost"

    def connected(self, reader: Reader, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
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

    def heartbeat(self, *, now: float, cursor: str | None, degraded: bool, connections: int) -> bytes:
        """``heartbeat``."""
        return wire.heartbeat(now=now, cursor=cursor, degraded=degraded)

    def reset(self, reason: str) -> bytes:
        """``reset``."""
        return wire.reset(reason)

    def stream_end(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        """``stream_end``."""
        return wire.stream_end(reason, retry_ms)

    def refusal(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        """``stream_end``."""
        return wire.stream_end(reason, retry_ms)
