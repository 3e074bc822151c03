"""Notifications and the inbox: unread, read, archived. Pure: no clock, socket, await.

A notification for one user is one document. A broadcast is stored once, for everyone, and never changes; reading or
archiving it writes the user's own *copy*, which covers it for that user (engine promise [cover]) and expires with it.
Marking all as read writes nothing but the user's ``Inbox``, whose order is ``read_up_to``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from milepost.commands import Notify
from milepost.engine import RECENT, Document, Question, Write
from milepost.model import Job, Level, Notification, dumps

UNREAD: Final = "unread"
COPY: Final = "copy"


def create(command: Notify, *, notification_id: str, user: str | None, now: float) -> Notification:
    """A new notification for ``user``, or for everyone (None)."""
    return Notification(
        id=notification_id,
        title=command.title,
        created_at=now,
        user=user,
        level=command.level,
        message=command.message,
        href=command.href,
        context=command.context,
    )


def read(notification: Notification, *, now: float) -> Notification:
    """The same, read. What was read or archived before is returned as it is."""
    if notification.status != "unread":
        return notification
    return replace(notification, status="read", read_at=now)


def archive(notification: Notification, *, now: float) -> Notification:
    """The same, archived, and read with it. What was archived before is returned as it is."""
    if notification.status == "archived":
        return notification
    return replace(
        notification, status="archived", read_at=now if notification.read_at is None else notification.read_at
    )


@dataclass(frozen=True, slots=True)
class Inbox:
    """A user's mark: every notification with ``seq`` ≤ ``read_up_to`` is read."""

    user: str
    read_up_to: int = 0

    def document(self, *, replaces: int | None) -> Write:
        """The inbox as a write."""
        return Write(
            key=inbox_key(self.user),
            kind="inbox",
            body=dumps({"read_up_to": self.read_up_to}),
            audiences=(f"user:{self.user}",),
            order=self.read_up_to,
            open_until=math.inf,
            replaces=replaces,
        )


def inbox_key(user: str) -> str:
    """The key of a user's inbox."""
    return f"inbox:{user}"


def load_inbox(user: str, document: Document | None) -> Inbox:
    """The inverse of ``Inbox.document``; a user without one has read nothing."""
    return Inbox(user) if document is None else Inbox(user, orjson.loads(document.body)["read_up_to"])


def document(notification: Notification, *, retention: float, replaces: int | None) -> Write:
    """The notification as a write; it expires ``retention`` seconds after it was created."""
    return Write(
        key=notification.key,
        kind="notification",
        body=dumps(notification.to_json()),
        audiences=(notification.audience,),
        labels=_labels(notification),
        expires_at=notification.created_at + retention,
        replaces=replaces,
    )


def copy(notification: Notification, *, user: str, retention: float, replaces: int | None) -> Write:
    """A broadcast as ``user`` has it, as a write. It takes the broadcast's place in the order and expires with it."""
    return replace(
        document(notification, retention=retention, replaces=replaces),
        key=copy_key(notification.id, user),
        audiences=(f"user:{user}",),
        labels=(*_labels(notification), COPY),
        order=notification.seq,
    )


def copy_key(notification_id: str, user: str) -> str:
    """The key of ``user``'s own copy of a broadcast."""
    return f"notification:{notification_id}@user:{user}"


def _labels(notification: Notification) -> tuple[str, ...]:
    labels = [f"status:{notification.status}"]
    if notification.status != "archived":
        labels.append(RECENT)
    if notification.status == "unread":
        labels.append(UNREAD)
    return tuple(labels)


def load(document: Document) -> Notification:
    """The inverse of ``document`` and ``copy``."""
    return Notification.load(document.body, document.order, document.revision)


def unread_questions(user: str) -> tuple[Question, ...]:
    """What to ask ``Engine.count`` for ``unread``: own unread, everyone's unread, own copies of those."""
    above = inbox_key(user)
    return (
        Question(f"user:{user}", UNREAD, above),
        Question("everyone", UNREAD, above),
        Question(f"user:{user}", COPY, above),
    )


def unread(values: Sequence[int]) -> int:
    """How many are unread, from the answers to ``unread_questions``."""
    own, everyone, copies = values
    # An expired broadcast and its copy go in two steps of ``prune``: in between the copy stands alone.
    return max(0, own + everyone - copies)


_LEVELS: Final[dict[str, Level]] = {"completed": "success", "failed": "error", "cancelled": "warning"}


def of_job(job: Job) -> Notify:
    """The end of ``job`` as a notification to its owner. The job must have ended."""
    message = {
        "completed": job.message or "Completed",
        "failed": "" if job.error is None else job.error.message or job.error.code,
        "cancelled": job.message or "Cancelled",
    }[job.state]
    return Notify(
        user=job.owner,
        title=job.title,
        message=message,
        level=_LEVELS[job.state],
        href=job.output_url,
        context={"job_id": job.id},
    )
