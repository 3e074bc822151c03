"""From documents to bytes: what one subscriber is written of a page, and what a whole tenant is written of a document.

Nothing here reads the engine or waits. Each document is encoded once per dialect; only the end of a notification's
frame, the reader's own unread count, is made per user.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from milepost import wire
from milepost.dialects import Dialect, Frame
from milepost.engine import Document, Page
from milepost.model import TERMINAL, Cursor, Identity
from milepost.subscriber import Listener, State, Subscriber, Topics
from milepost.unread import Unread

log = logging.getLogger("milepost.hub")

SLAB: Final = 16 * 1024  # bytes of a catch-up that are written at once
EVERYONE: Final = ("everyone",)


@dataclass(slots=True)
class HubStats:
    """Plain counters, read by the metrics."""

    sent: Counter[str] = field(default_factory=Counter)  # frames by canonical event name
    streams: int = 0
    lagging: int = 0
    reads: int = 0  # engine reads by the hub and its subscribers
    backstop_found: int = 0  # growth that no hint told of
    on_close: Callable[[float], object] = id  # told each stream's duration in seconds
    of_user: Callable[[Identity], int] = lambda _: 1  # how many streams this user has here: whoever admits them knows


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
        self.stats = stats
        self._ended = ended
        self._left = left
        self.clock = 0.0  # the wheel's time, so that a write need not ask for it

    def write(self, subscriber: Subscriber, event: str, data: bytes) -> bool:
        """Write one event; False where the sink is full now."""
        self.stats.sent[event] += bool(data)
        return self._put(subscriber, data)

    def last(self, subscriber: Subscriber, reason: str, retry_ms: int, now: float) -> None:
        """Write why the stream ends, as far as its dialect says so."""
        reader = subscriber.reader(self.stats.of_user)
        self.write(subscriber, "stream_end", subscriber.dialect.stream_end(reader, reason, retry_ms, now=now))

    def lags(self, subscriber: Subscriber) -> None:
        """Its sink is full: nothing is written to it until ``Hub.drained``."""
        subscriber.state = State.LAGGING
        self.stats.lagging += 1

    def _put(self, subscriber: Subscriber, data: bytes) -> bool:
        sink = subscriber.sink
        if not data or sink is None:
            return True
        subscriber.last_write = self.clock
        return sink.write(wire.chunk(data) if sink.chunked else data)

    def page(self, subscriber: Subscriber, page: Page, unread: Unread | None, before: bytes, live: bytes) -> bool:
        """Write a page of a catch-up and move the subscriber's cursor. False where its sink is full.

        ``before`` goes first; ``live`` last, if nothing is left over or was missed. What is short is one write.
        """
        dialect, tenant, epoch = subscriber.dialect, subscriber.identity.tenant, page.cursor.epoch
        reset = page.reset or subscriber.reset
        seen = None if reset is not None else subscriber.cursor
        sent = self.stats.sent
        told, settled = before, _settled(page, unread) if dialect.news_only else ()
        if reset is not None:
            subscriber.reset = None
            sent["reset"] += 1
            told += dialect.reset(reset)
        for document in sorted(page.documents, key=_revision):
            if seen is not None and document.revision <= seen.revision:
                continue
            if document.key in settled or (document.gone and not subscriber.may_see(document)):
                continue
            position = Cursor(epoch, document.revision)
            cursor = self._seal.encode(tenant, position)
            told += self._told(subscriber, document, _encoded(dialect, document, cursor), cursor, unread)
            end = None if subscriber.job is None else _end_of(document)
            if end is not None:
                self._put(subscriber, told)
                told = b""
                self._ended(subscriber, end)
            if subscriber.state is not State.CATCHING_UP:
                return False
            # a snapshot is one bounded page and is written whole: the rest of it could not be read again
            if seen is not None:
                subscriber.cursor = position
                if len(told) >= SLAB:
                    if not self._put(subscriber, told):
                        return False
                    told = b""
        subscriber.cursor = page.cursor
        if unread is not None and not page.more and all(d.kind != "inbox" for d in page.documents):
            sent["inbox"] += 1
            told += self._inbox(dialect, unread, self._seal.encode(tenant, page.cursor))
        return self._put(subscriber, told if subscriber.missed else told + live)

    def fan_out(
        self, topics: Topics, tenant: str, epoch: str, document: Document, unread: Mapping[str, Unread]
    ) -> None:
        """Write a document to every live listener that may see it; the others are told that they missed something."""
        narrowed = f"#{wire.subject(document.key)}"
        heard = [name for name in (*document.audiences, narrowed) if name in topics]
        if not heard:
            return
        revision, clock, live = document.revision, self.clock, State.LIVE
        position = Cursor(epoch, revision)
        cursor = self._seal.encode(tenant, position)
        encoded: dict[Dialect, _Encoded] = {}
        for name in heard:
            for listener in topics.members(name):
                if listener.state is not live:
                    listener.miss()
                    continue
                subscriber = _subscriber(listener)
                seen = subscriber.cursor
                if seen is not None and seen.revision >= revision:
                    continue
                if name is narrowed and not subscriber.may_see(document):
                    continue
                subscriber.cursor = position
                same = encoded.get(subscriber.dialect)
                if same is None:
                    same = encoded[subscriber.dialect] = _Encoded(subscriber.dialect, document, cursor)
                sink = subscriber.sink
                assert sink is not None, "a live one has begun"
                if same.data is None or subscriber.job is not None:
                    room = self._one(subscriber, document, same, cursor, unread)
                elif same.data:
                    same.written += 1
                    subscriber.last_write = clock
                    room = sink.write(same.chunk if sink.chunked else same.data)
                else:
                    continue
                if not room and subscriber.state is live:
                    self.lags(subscriber)
        for same in encoded.values():
            self.stats.sent[same.event] += same.written

    def _one(
        self,
        subscriber: Subscriber,
        document: Document,
        same: _Encoded,
        cursor: str,
        unread: Mapping[str, Unread],
    ) -> bool:
        """What is the reader's own: unread counts, and the end of a stream that follows one job."""
        told = self._told(subscriber, document, same.frame, cursor, unread.get(subscriber.identity.user))
        room = self._put(subscriber, told)
        end = None if subscriber.job is None or "!" in document.key else _end_of(document)
        if end is not None:
            self._ended(subscriber, end)
        return room

    def _told(
        self, subscriber: Subscriber, document: Document, frame: Frame | None, cursor: str, unread: Unread | None
    ) -> bytes:
        """The bytes that this subscriber gets for a document, counted as sent."""
        if subscriber.job is not None and "!" in document.key:
            self._left(subscriber)
            return b""
        if document.kind == "inbox":
            if unread is None:
                return b""
            event, told = "inbox", self._inbox(subscriber.dialect, unread, cursor)
        elif frame is None:
            return b""
        else:
            event, told = frame.event, frame.data
            if frame.tail:
                own = unread is not None and document.audiences != EVERYONE
                told += wire.unread_tail(unread.count, unread.as_of) if own and unread else wire.unread_tail(None, "")
        self.stats.sent[event] += bool(told)
        return told

    @staticmethod
    def _inbox(dialect: Dialect, unread: Unread, cursor: str) -> bytes:
        return dialect.inbox(unread=unread.count, read_up_to=unread.read_up_to, as_of=unread.as_of, cursor=cursor)


class _Encoded:
    """A document in one dialect: ``data`` is what everybody gets alike, ``chunk`` the same; None: each has its own."""

    __slots__ = ("chunk", "data", "event", "frame", "written")

    def __init__(self, dialect: Dialect, document: Document, cursor: str) -> None:
        self.frame = _encoded(dialect, document, cursor)
        self.written = 0
        self.event = "" if self.frame is None else self.frame.event
        self.data: bytes | None = b"" if self.frame is None else self.frame.data
        if self.frame is not None and self.frame.tail:
            self.data = self.frame.data + wire.unread_tail(None, "") if document.audiences == EVERYONE else None
        elif document.kind == "inbox":
            self.data = None
        self.chunk = wire.chunk(self.data) if self.data else b""


def _encoded(dialect: Dialect, document: Document, cursor: str) -> Frame | None:
    """The document's frame; None where it has none, or where the dialect fails: one document must not end a stream."""
    if document.kind == "inbox":
        return None
    try:
        return dialect.document(document, cursor)
    except Exception:
        log.exception("%s cannot be told in dialect %s", document.key, dialect.name)
        return None


def _settled(page: Page, unread: Unread | None) -> frozenset[str]:
    """The notifications of a page that were read or archived since, which they do not say themselves: through the
    inbox's mark, or by the reader's own copy of a broadcast.
    """
    mark = 0 if unread is None else unread.read_up_to
    read = {document.key for document in page.documents if document.kind == "notification" and document.order <= mark}
    return frozenset(read | {wire.subject(document.key) for document in page.documents if "@" in document.key})


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
