"""What may be said of a job when it starts, and of a notification: the fields of the HTTP interface, as keywords."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from milepost.model import Level


class JobFields(TypedDict, total=False):
    """What may be said of a job when it starts: the fields of ``POST /api/jobs``, with its defaults."""

    kind: str
    owner: str | None
    watchers: Sequence[str]
    attempt: int
    total: float | None
    notify: bool
    deadline_seconds: float | None
    total_deadline_seconds: float | None


class NoteFields(TypedDict, total=False):
    """What may be said of a notification besides user and title: the fields of ``POST /api/notifications``."""

    users: Sequence[str] | None
    everyone: bool
    message: str
    level: Level
    href: str | None
    context: Mapping[str, Any] | None
    id: str | None


def start_fields(id: str | None, title: str, fields: JobFields) -> dict[str, Any]:
    """The body of ``POST /api/jobs``."""
    # An id of our own makes a repeated start the same job.
    start: dict[str, Any] = {"id": id or secrets.token_hex(12), "title": title}
    start |= {name: value for name, value in fields.items() if value is not None}
    if "watchers" in start:
        start["watchers"] = list(start["watchers"])
    return start


def note_fields(user: str | None, title: str, fields: NoteFields) -> dict[str, Any]:
    """The body of ``POST /api/notifications``."""
    note: dict[str, Any] = {"user": user, "title": title, **fields}
    note["everyone"] = note.get("everyone") or None
    for name, plain in (("users", list), ("context", dict)):
        if note.get(name) is not None:
            note[name] = plain(note[name])
    return {name: value for name, value in note.items() if value is not None}
