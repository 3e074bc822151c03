"""How documents are written in Redis; ``tenant.lua`` says the same for the scripts.

``revision order gone due #words #body LF words body private``, where the words are five lines: kind, audiences and
labels as JSON, ``open_until`` and ``expires_at``. Numbers stay text on their way through Lua, which would round them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import orjson

from milepost.engine import MAX_AUDIENCES, Document, Write
from milepost.errors import Conflict, Invalid

NONE: Final = b"-"


def root(tenant: str) -> bytes:
    """The key that a tenant's keys begin with. The braces put all of them into one slot of a cluster."""
    return b"mp:{%b}" % (quote(tenant, safe="").encode() or b"%")


def number(value: float | None) -> bytes:
    """A time as text that reads back as the same float."""
    return NONE if value is None else repr(float(value)).encode()


def _json(words: Sequence[str]) -> bytes:
    return orjson.dumps(words)


class Prepared:
    """A commit as the script takes it, checked: one that Redis could not carry out must not fail its group."""

    __slots__ = ("arguments", "writes")

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = [_tidy(write) for write in writes]
        self.arguments: list[bytes] = [b"%d" % len(self.writes)]
        try:
            for write in self.writes:
                self.arguments += _written(write)
        except (TypeError, UnicodeEncodeError):
            raise Invalid("keys, kinds, audiences and labels are valid Unicode", field="key") from None

    def stored(self, line: bytes) -> list[Document]:
        """What the script's answer says of it. Raises ``Conflict``."""
        if line.startswith(b"!"):
            raise Conflict(key=orjson.loads(line[1:]))
        return [_stored(write, part) for write, part in zip(self.writes, line.split(b"\t"), strict=True)]


def _tidy(write: Write) -> Write:
    audiences = tuple(dict.fromkeys(write.audiences))
    labels = tuple(dict.fromkeys(write.labels))
    if len(audiences) > MAX_AUDIENCES or len(write.audiences) > MAX_AUDIENCES:
        raise Invalid(f"a document has at most {MAX_AUDIENCES} audiences", field="audiences")
    if "" in audiences:
        raise Invalid("an audience has a name", field="audiences")
    for name in ("open_until", "expires_at", "due_at"):
        if math.isnan(getattr(write, name) or 0.0):
            raise Invalid("a time is a number", field=name)
    if audiences == write.audiences and labels == write.labels:
        return write
    return Write(
        write.key, write.kind, write.body, audiences, write.private, labels, write.order,
        write.open_until, write.expires_at, write.due_at, write.replaces,
    )  # fmt: skip


def _written(write: Write) -> tuple[bytes, bytes, bytes]:
    gone = write.body is None
    words = b"%b\n%b\n%b\n%b\n%b" % (
        orjson.dumps(write.kind),
        _json(write.audiences),
        _json(() if gone else write.labels),
        b"0.0" if gone else number(write.open_until),
        NONE if gone else number(write.expires_at),
    )
    numbers = b"%b %b %b %d" % (
        NONE if write.order is None else b"%d" % write.order,
        number(write.due_at),
        NONE if write.replaces is None else b"%d" % write.replaces,
        gone,
    )
    body = b"" if write.body is None else write.body
    private = b"" if gone else write.private
    return write.key.encode(), numbers, b"%d %d\n%b%b%b" % (len(words), len(body), words, body, private)


def _stored(write: Write, part: bytes) -> Document:
    revision, order, *audiences = part.split(b" ", 2)
    if write.body is None:
        kept = tuple(orjson.loads(audiences[0]))
        return Document(write.key, write.kind, int(revision), int(order), kept, b"", gone=True)
    return Document(
        write.key,
        write.kind,
        int(revision),
        int(order),
        write.audiences,
        write.body,
        write.private,
        write.labels,
        write.open_until,
        write.expires_at,
        write.due_at,
    )


@lru_cache(maxsize=8192)
def _words(text: bytes) -> tuple[str, tuple[str, ...], tuple[str, ...], float, float | None]:
    """Most documents share their words with many others, or with their own last revision."""
    kind, audiences, labels, open_until, expires_at = text.split(b"\n")
    return (
        orjson.loads(kind),
        tuple(orjson.loads(audiences)),
        tuple(orjson.loads(labels)),
        float(open_until),
        None if expires_at == NONE else float(expires_at),
    )


def document(key: str, stored: bytes) -> Document:
    """A document as it is stored."""
    line, _, rest = stored.partition(b"\n")
    revision, order, gone, due, words_size, body_size = line.split()
    words_end = int(words_size)
    body_end = words_end + int(body_size)
    kind, audiences, labels, open_until, expires_at = _words(rest[:words_end])
    return Document(
        key,
        kind,
        int(revision),
        int(order),
        audiences,
        rest[words_end:body_end],
        rest[body_end:],
        labels,
        open_until,
        expires_at,
        None if due == NONE else float(due),
        gone == b"1",
    )


def documents(answer: Sequence[Any]) -> Iterator[Document]:
    """The documents of an answer that holds key, document, key, document …"""
    for key, stored in zip(answer[::2], answer[1::2], strict=True):
        yield document(key.decode(), stored)
