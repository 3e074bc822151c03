"""Each product's own event names and payload shapes: one document in, one frame out. Pure.

``milepost`` is the canonical dialect; ``document``, ``activity``, ``coaching``, ``import`` and ``enrichment`` are those
of products D, A, C, T and E. One's own is a class with the methods of ``Dialect``, made available by ``register``, or
by an entry point of the group ``milepost.dialects``. docs/dialects.md shows both.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final

from milepost.dialects.dialect import Dialect, Frame, Reader
from milepost.dialects.document import DocumentDialect
from milepost.dialects.enrichment import EnrichmentDialect
from milepost.dialects.milepost import Milepost
from milepost.dialects.news import ActivityDialect, CoachingDialect
from milepost.dialects.traces import ImportDialect
from milepost.engine import Document

__all__ = ["GROUP", "MILEPOST", "Dialect", "Frame", "Reader", "dialect", "install", "notifications_of", "register"]

GROUP: Final = "milepost.dialects"
MILEPOST: Final = Milepost()

_REGISTRY: dict[str, Dialect] = {}


def register(dialect: Dialect) -> None:
    """Make a dialect available under its name, in place of one that had it.

    Everything but ``document`` is tried once: a mistake shows here, and not in the middle of somebody's stream. Raises
    what the dialect raises, ValueError where it has no name or nothing to begin a stream with.
    """
    reader = Reader("u")
    begun = dialect.connected(reader, now=0.0, cursor=None, heartbeat_seconds=15.0)
    if not dialect.name or not begun:
        raise ValueError("A dialect needs a name, and connected() some bytes: a proxy may wait for them.")
    dialect.live("c")
    dialect.reset("epoch")
    dialect.inbox(unread=0, read_up_to=0, as_of="c", cursor="c")
    dialect.heartbeat(now=0.0, cursor=None, degraded=False, connections=1)
    dialect.stream_end(reader, "timeout", 1000, now=0.0)
    dialect.refusal(reader, "overloaded", 1000, now=0.0)
    _REGISTRY[dialect.name] = dialect


def dialect(name: str) -> Dialect | None:
    """The dialect of that name, if there is one."""
    return _REGISTRY.get(name)


@cache
def install() -> None:
    """Register the dialects that installed packages bring: entry points that name a class of ``Dialect``.

    Raises what a package raises that cannot be imported: a server must not start without what was asked of it.
    """
    for point in entry_points(group=GROUP):
        register(point.load()())


@cache
def notifications_of(inner: Dialect) -> Dialect:
    """The same dialect for a stream of notifications alone: it is silent about jobs."""
    return _Notifications(inner)


class _Notifications(Dialect):
    def __init__(self, inner: Dialect) -> None:
        self.inner = inner
        self.name = inner.name
        self.beat_seconds = inner.beat_seconds
        self.counts_connections = inner.counts_connections
        self.news_only = inner.news_only

    def document(self, document: Document, cursor: str) -> Frame | None:
        return self.inner.document(document, cursor) if document.kind == "notification" else None

    def connected(self, reader: Reader, **more: Any) -> bytes:
        return self.inner.connected(reader, **more)

    def inbox(self, **more: Any) -> bytes:
        return self.inner.inbox(**more)

    def live(self, cursor: str) -> bytes:
        return self.inner.live(cursor)

    def heartbeat(self, **more: Any) -> bytes:
        return self.inner.heartbeat(**more)

    def reset(self, reason: str) -> bytes:
        return self.inner.reset(reason)

    def stream_end(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        return self.inner.stream_end(reader, reason, retry_ms, now=now)

    def refusal(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        return self.inner.refusal(reader, reason, retry_ms, now=now)


for _one in (
    MILEPOST,
    DocumentDialect(),
    ActivityDialect(),
    CoachingDialect(),
    ImportDialect(),
    EnrichmentDialect(),
):
    register(_one)
