"""From documents to bytes: what one subscriber is written of a page, and what a whole tenant is written of a document.

Nothing here reads the engine or waits. Each document is encoded once per dialect; only the end of a notification's
frame, the reader's own unread count, is made per user.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from milepost import wire
from milepost.dialects import Dialect, Frame
from milepost.engine import Document, Page
from milepost.model import TERMINAL, Cursor
from milepost.subscriber import Listener, State, Subscriber, Topic

log = logging.getLogger("milepost.hub")


@dataclass(frozen=True, slots=True)
class Unread:
    """A user's inbox in numbers, true at the cursor ``as_of``."""

    count: int
    read_up_to: int
    as_of: str


@dataclass(slots=True)
class HubStats:
    """Plain counters, read by the metrics."""

    sent: Counter[str] = field(default_factory=Counter)  # frames by canonical event name
    streams: int = 0
    lagging: int = 0
    reads: int = 0  # engine reads by the hub and its subscribers
    backstop_found: int = 0  # growth that no hint told of
    on_close: Callable[[float], object] = id  # told each stream's duration in seconds


class Delivery:
    """Writes to sinks.

    ``ended`` is called with a job stream whose job has ended, and how; ``left`` with a job stream whose job is gone
    from one of its audiences and may still be seen through another.
    """

    def __init__(
        self,
        seal: wire.CursorSeal,
        stats: HubStats,
        *,
        ended: Callable[[Subscriber, str], None],
        left: Callable[[Subscriber], None],
    ) -> None:
        self._seal = seal
        self._stats = stats
        self._ended = ended
        self._left = left
        self.clock = 0.0  # the wheel's time, so that a write need not ask for it

    def write(self, subscriber: Subscriber, event: str, data: bytes) -> bool:
        """Write bytes that are not a document; False where the sink is full now."""
        if not data or subscriber.sink is None:
            return True
        self._stats.sent[event] += 1
        subscriber.last_write = self.clock
        return subscriber.sink.write(data)

    def page(self, subscriber: Subscriber, page: Page, unread: Unread | None) -> bool:
        """Write a page of a catch-up and move the subscriber's cursor. False where its sink is full before the end."""
        dialect, tenant, epoch = subscriber.dialect, subscriber.identity.tenant, page.cursor.epoch
        reset = page.reset or subscriber.reset
        seen = None if reset is not None else subscriber.cursor
        if reset is not None:
            subscriber.reset = None
            self.write(subscriber, "reset", dialect.reset(reset))
        room = True
        for document in sorted(page.documents, key=_revision):
            if seen is not None and document.revision <= seen.revision:
                continue
            if document.gone and not subscriber.may_see(document):
                continue
            cursor = self._seal.encode(tenant, Cursor(epoch, document.revision))
            frame = _encoded(dialect, document, cursor)
            room = self._one(subscriber, document, frame, cursor, unread, _end_of(document)) and room
            if subscriber.state is not State.CATCHING_UP:
                return False
            # a snapshot is one bounded page and is written whole: the rest of it could not be read again
            if seen is not None:
                subscriber.cursor = Cursor(epoch, document.revision)
                if not room:
                    return False
        subscriber.cursor = page.cursor
        if unread is not None and not page.more and all(d.kind != "inbox" for d in page.documents):
            cursor = self._seal.encode(tenant, page.cursor)
            room = self.write(subscriber, "inbox", self._inbox(dialect, unread, cursor)) and room
        return room

    def fan_out(
        self, topics: Mapping[str, Topic], tenant: str, epoch: str, document: Document, unread: Mapping[str, Unread]
    ) -> None:
        """Write a document to every live listener that may see it; the others are told that they missed something."""
        cursor = self._seal.encode(tenant, Cursor(epoch, document.revision))
        position = Cursor(epoch, document.revision)
        frames: dict[Dialect, Frame | None] = {}
        narrowed = f"#{wire.subject(document.key)}"
        end = _end_of(document)
        for name in (*document.audiences, narrowed):
            topic = topics.get(name)
            if topic is None:
                continue
            for listener in topic.members():
                if listener.state is not State.LIVE:
                    listener.miss()
                    continue
                subscriber = _subscriber(listener)
                seen = subscriber.cursor
                if seen is not None and seen.revision >= document.revision:
                    continue
                if name is narrowed and not subscriber.may_see(document):
                    continue
                dialect = subscriber.dialect
                if dialect in frames:
                    frame = frames[dialect]
                else:
                    frame = frames[dialect] = _encoded(dialect, document, cursor)
                subscriber.cursor = position
                user = unread.get(subscriber.identity.user)
                if not self._one(subscriber, document, frame, cursor, user, end) and subscriber.state is State.LIVE:
                    subscriber.state = State.LAGGING
                    self._stats.lagging += 1

    def _one(
        self,
        subscriber: Subscriber,
        document: Document,
        frame: Frame | None,
        cursor: str,
        unread: Unread | None,
        end: str | None,
    ) -> bool:
        if document.kind == "inbox":
            if unread is None:
                return True
            return self.write(subscriber, "inbox", self._inbox(subscriber.dialect, unread, cursor))
        if subscriber.job is not None and "!" in document.key:
            self._left(subscriber)
            return True
        room = True
        if frame is not None:
            data = frame.data
            if frame.tail:
                told = unread is not None and document.audiences != ("everyone",)
                data += wire.unread_tail(unread.count, unread.as_of) if told and unread else wire.unread_tail(None, "")
            room = self.write(subscriber, frame.event, data)
        if subscriber.job is not None and end is not None:
            self._ended(subscriber, end)
        return room

    @staticmethod
    def _inbox(dialect: Dialect, unread: Unread, cursor: str) -> bytes:
        return dialect.inbox(unread=unread.count, read_up_to=unread.read_up_to, as_of=unread.as_of, cursor=cursor)


def _encoded(dialect: Dialect, document: Document, cursor: str) -> Frame | None:
    """The document's frame; None where it has none, or where the dialect fails: one document must not end a stream."""
    if document.kind == "inbox":
        return None
    try:
        return dialect.document(document, cursor)
    except Exception:
        log.exception("%s cannot be told in dialect %s", document.key, dialect.name)
        return None


def _revision(document: Document) -> int:
    return document.revision


def _end_of(document: Document) -> str | None:
    """Why a stream that follows this job alone ends with this document; None where it does not."""
    if document.gone:
        return "revoked"
    return next((label[6:] for label in document.labels if label[:6] == "state:" and label[6:] in TERMINAL), None)


def _subscriber(listener: Listener) -> Subscriber:
    """Only subscribers ever go live; a waiter stays where it is until it leaves."""
    assert isinstance(listener, Subscriber)
    return listener
