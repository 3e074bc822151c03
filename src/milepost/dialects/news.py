"""Products A and C: notifications as they are created, and no other word.

Both make a toast of whatever comes. So a notification is told while it is new only: unread, and in the very revision
in which it was created; a read mark is never told, and a stream without a cursor begins at the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from milepost import wire
from milepost.dialects.dialect import Beating, Frame, Reader
from milepost.engine import Document
from milepost.model import dumps, to_rfc3339


class ActivityDialect(Beating):
    """Product A polls; on a stream its notifications are unnamed ``message`` events of the same shape."""

    name = "activity"
    news_only = True

    def connected(self, reader: Reader, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
        """With the id of the head: whoever is cut off before the first notification resumes from there."""
        return wire.frame("connected", dumps({"timestamp": to_rfc3339(now)}), id=cursor)

    def document(self, document: Document, cursor: str) -> Frame | None:
        """An unnamed event."""
        if not _is_news(document):
            return None
        return Frame(wire.frame("", dumps(self._note(orjson.loads(document.body))), id=cursor), "notification")

    def listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        """A's own shape, and nothing beside it."""
        return {"notifications": [self._note(note) for note in listing["notifications"]]}

    @staticmethod
    def _note(note: Mapping[str, Any]) -> dict[str, Any]:
        href: dict[str, Any] = {} if note["href"] is None else {"href": note["href"]}
        return {
            "id": note["id"],
            "level": note["level"],
            "text": note["text"],
            "context": href | note["context"] | href,
            "created_at": note["created_at"],
        }


class CoachingDialect(Beating):
    """Product C: ``connected``, ``notification`` and ``heartbeat``."""

    name = "coaching"
    beat_seconds = 30.0
    counts_connections = True
    news_only = True

    def connected(self, reader: Reader, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
        """With the id of the head: whoever is cut off before the first notification resumes from there."""
        return wire.frame("connected", dumps({"user_id": reader.user, "timestamp": to_rfc3339(now)}), id=cursor)

    def document(self, document: Document, cursor: str) -> Frame | None:
        """``notification``."""
        if not _is_news(document):
            return None
        note = self._note(orjson.loads(document.body))
        return Frame(wire.frame("notification", dumps(note), id=cursor), "notification")

    def listing(self, listing: dict[str, Any]) -> dict[str, Any]:
        """The canonical answer with C's notifications in it."""
        return {**listing, "notifications": [self._note(note) for note in listing["notifications"]]}

    @staticmethod
    def _note(note: Mapping[str, Any]) -> dict[str, Any]:
        metadata = dict(note["context"])
        session = metadata.pop("related_session_id", None)
        return {
            "id": note["id"],
            "type": note["level"],
            "title": note["title"],
            "message": note["message"],
            "status": note["status"],
            "metadata": metadata,
            "related_session_id": session,
            "created_at": note["created_at"],
        }


def _is_news(document: Document) -> bool:
    if document.kind != "notification" or document.gone or document.revision != document.order:
        return False
    return "status:unread" in document.labels
