"""The reads of the SQLite engine: each function is given the snapshot of one transaction.

What a snapshot has told once it is not asked again: a stream's first read and its unread count need the same few facts,
and so do streams that are opened together, which share a snapshot (``SqliteEngine.together``).
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, Final

import orjson

from milepost.engine import RECENT, Counts, Document, Due, Page, Question, ResetReason
from milepost.engines import statements
from milepost.model import Cursor

SQL: Final = statements.load("milepost.engines.sqlite", "statements.sql")
EVERYBODY: Final = ""  # the audience in `place` of those who read the whole tenant
SEEN: Final = 1  # the terms that are no kind and labels
OPEN: Final = 2
END: Final = 2**62  # above every revision, order and number
_RECENT: Final = frozenset({RECENT})

Run = Callable[[str, Sequence[Any]], Iterable[Any]]


class Ahead(Exception):
    """A cursor of this epoch is ahead of the head: who reads has a new epoch drawn and reads again."""

    def __init__(self, epoch: str) -> None:
        super().__init__(epoch)
        self.epoch = epoch


@lru_cache(maxsize=1024)
def words(text: str) -> tuple[str, ...]:
    """Audiences or labels as they are stored; most documents share theirs with many others."""
    return tuple(orjson.loads(text))


def document(row: Sequence[Any]) -> Document:
    """A row of the statements that read whole documents."""
    key, kind, revision, order, audiences, body, private, labels, open_until, expires_at, due_at, gone = row
    return Document(
        key,
        kind,
        revision,
        order,
        words(audiences),
        body,
        private,
        words(labels),
        open_until,
        expires_at,
        due_at,
        gone == 1,
    )


@lru_cache(maxsize=1024)
def _meaning(term: str) -> tuple[str, frozenset[str]]:
    kind, *labels = orjson.loads(term)
    return kind, frozenset(labels)


def epoch_of(secret: str, tenant: str) -> str:
    """The epoch of a tenant without a row: its own, and the same until somebody draws another one."""
    return hashlib.blake2b(tenant.encode(), key=secret.encode(), digest_size=6).hexdigest()


class Snapshot:
    """One read transaction, for as long as it is open."""

    __slots__ = ("_tenants", "run")

    def __init__(self, run: Run) -> None:
        self.run = run
        self._tenants: dict[str, Tenant] = {}

    def tenant(self, name: str) -> Tenant:
        """A tenant as this snapshot shows it."""
        known = self._tenants.get(name)
        if known is None:
            known = self._tenants[name] = Tenant(self.run, name)
        return known


class Tenant:
    """See ``Snapshot.tenant``; ``id`` is None before its first commit."""

    __slots__ = ("_readers", "_terms", "cursor", "floor", "id", "run")

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.id: int | None = None
        self.floor = 0
        self._readers: dict[str, tuple[int | None, int]] = {}
        self._terms: dict[int, list[tuple[int, str, frozenset[str]]]] = {}
        for row in run(SQL["tenant"], (name,)):
            self.id, epoch, head, self.floor, _ = row
            # where its history ends: one object for all who share the snapshot
            self.cursor = Cursor(sys.intern(epoch), head)
        if self.id is None:
            for (secret,) in run(SQL["secret"], ()):
                self.cursor = Cursor(epoch_of(secret, name), 0)

    def reader(self, audience: str) -> int | None:
        """The number of an audience; None for one that sees nothing."""
        return self._reader(audience)[0]

    def _reader(self, audience: str) -> tuple[int | None, int]:
        """The number of an audience, and whether anything is covered for it."""
        known = self._readers.get(audience)
        if known is None:
            for row in self.run(SQL["audience"], (self.id, audience)):
                known = self._readers[audience] = row
        assert known is not None, "the statement has one row"
        return known

    def terms(self, audience: str, labels: AbstractSet[str], kind: str | None = None) -> Iterator[tuple[int, int]]:
        """Where an audience's documents with these labels, of this or any kind, stand: (reader, term)."""
        reader = self.reader(audience)
        if reader is None:
            return
        if reader not in self._terms:
            rows = self.run(SQL["terms"], (reader,))
            self._terms[reader] = [(term, *_meaning(text)) for term, text in rows]
        for term, its_kind, has in self._terms[reader]:
            if labels <= has and kind in (None, its_kind):
                yield reader, term

    def get(self, key: str) -> Document | None:
        """The document under a key, gone or not."""
        for row in self.run(SQL["by_key"], (self.id, key)):
            return document(row)
        return None

    def covered(self, audiences: Sequence[str]) -> Callable[[Document], bool]:
        """Whether a document is covered for one of these audiences; readers of everything are never covered."""
        having = [a for a in audiences if a and self._reader(a)[1]]
        if not having:
            return _nothing

        def check(found: Document) -> bool:
            return any(any(self.run(SQL["covered"], (self.id, a, found.key))) for a in having)

        return check


def _nothing(_: Document) -> bool:
    return False


def get(snapshot: Snapshot, tenant: str, keys: Sequence[str]) -> list[Document | None]:
    """See ``Engine.get``."""
    at = snapshot.tenant(tenant)
    found = (at.get(key) for key in keys)
    return [None if it is None or it.gone else it for it in found]


def heads(snapshot: Snapshot, tenants: Sequence[str]) -> list[Cursor]:
    """See ``Engine.heads``."""
    return [snapshot.tenant(name).cursor for name in tenants]


def count(snapshot: Snapshot, tenant: str, questions: Sequence[Question]) -> Counts:
    """See ``Engine.count``."""
    at = snapshot.tenant(tenant)
    values = []
    for question in questions:
        values.append(0)
        for place in at.terms(question.audience, {question.label}):
            for (number,) in snapshot.run(SQL["count"], (*place, at.id, question.above)):
                values[-1] += number
    return Counts(values, at.cursor)


def due(snapshot: Snapshot, now: float, limit: int) -> list[Due]:
    """See ``Engine.due``."""
    return [Due(row[0], document(row[1:])) for row in snapshot.run(SQL["due"], (now, limit))]


def find(
    snapshot: Snapshot,
    tenant: str,
    audiences: Sequence[str] | None,
    kind: str,
    labels: Sequence[str],
    before: int | None,
    after: int | None,
    limit: int,
    *,
    oldest: bool,
) -> Page:
    """See ``Engine.find``."""
    at = snapshot.tenant(tenant)
    readers = (EVERYBODY,) if audiences is None else audiences
    bounds = (-END if after is None else after, END if before is None else before)
    covered = at.covered(readers)
    found: list[Document] = []
    places = [place for reader in dict.fromkeys(readers) for place in at.terms(reader, set(labels), kind)]
    for it in _walk(at, places, bounds, limit + 1, oldest=oldest):
        if not covered(it):
            if len(found) == limit:
                return Page(found, at.cursor, more=True)
            found.append(it)
    return Page(found, at.cursor)


def _walk(
    at: Tenant, places: Sequence[tuple[int, int]], bounds: tuple[int, int], step: int, *, oldest: bool
) -> Iterator[Document]:
    """The documents at any of these terms, by order, each one once; read as they are needed, ``step`` at a time."""
    if len(places) == 1 and not oldest:  # most people's notifications are all read, or all unread
        yield from _newest(at.run, *places[0], bounds, step)
        return
    streams = [_orders(at.run, reader, term, bounds, step, oldest=oldest) for reader, term in places]
    merged = heapq.merge(*streams, key=itemgetter(0), reverse=not oldest)
    taken: set[int] = set()
    while chunk := [id_ for _, id_ in itertools.islice(merged, step)]:
        ids = [id_ for id_ in dict.fromkeys(chunk) if id_ not in taken]
        taken.update(ids)
        found = {row[0]: document(row[1:]) for row in at.run(SQL["by_ids"], (orjson.dumps(ids).decode(),))}
        yield from map(found.__getitem__, ids)


def _newest(run: Run, reader: int, term: int, bounds: tuple[int, int], step: int) -> Iterator[Document]:
    """The documents of one term, newest first, lazily."""
    low, high = bounds
    place = (high, -1)
    while True:
        rows = list(run(SQL["newest_documents"], (reader, term, *place, low, step)))
        for row in rows:
            yield document(row[2:])
        if len(rows) < step:
            return
        place = rows[-1][:2]


def _orders(
    run: Run, reader: int, term: int, bounds: tuple[int, int], step: int, *, oldest: bool
) -> Iterator[tuple[float, int]]:
    """(order, document) of one term, lazily. No statement stays open meanwhile: a second one would be planned anew."""
    low, high = bounds
    place, end = ((low, END), high) if oldest else ((high, -1), low)
    while True:
        rows = list(run(SQL["oldest" if oldest else "newest"], (reader, term, *place, end, step)))
        yield from rows
        if len(rows) < step:
            return
        place = rows[-1]


def changes(
    snapshot: Snapshot,
    tenant: str,
    audiences: Sequence[str] | None,
    after: Cursor | None,
    now: float,
    limit: int,
    recent: int,
    keys: Sequence[str] | None,
    *,
    proven: bool,
) -> Page:
    """See ``Engine.changes``. Raises ``Ahead`` unless it is ``proven`` that the cursor was one of this history."""
    at = snapshot.tenant(tenant)
    readers = tuple(dict.fromkeys((EVERYBODY,) if audiences is None else audiences))
    reset: ResetReason | None = None
    if after is not None:
        if proven:
            reset = "ahead"
        elif after.epoch != at.cursor.epoch:
            reset = "epoch"
        elif after.revision > at.cursor.revision:
            raise Ahead(at.cursor.epoch)
        elif after.revision < at.floor:
            reset = "expired"
        elif after.revision == at.cursor.revision:
            return Page([], after)
        elif keys is not None:
            return _keys_after(at, audiences, after, limit, keys)
        else:
            return _page(at, _after(at, readers, after.revision, limit + 1), limit)
    covered = at.covered(readers)
    found = _snapshot(at, readers, now, recent, covered) if keys is None else _keys_now(at, audiences, keys)
    unique = {it.key: it for it in found if not covered(it)}
    return Page(sorted(unique.values(), key=attrgetter("revision")), at.cursor, reset=reset)


def _after(at: Tenant, readers: Sequence[str], revision: int, limit: int) -> list[Document]:
    """The first ``limit`` documents after a revision; what one audience gave bounds what is read of the next."""
    if len(readers) == 1:
        (one,) = map(at.reader, readers)
        return [] if one is None else list(map(document, at.run(SQL["after"], (one, revision, END, limit))))
    found: dict[int, Document] = {}
    bound = END
    for reader in map(at.reader, readers):
        for row in () if reader is None else at.run(SQL["after"], (reader, revision, bound, limit)):
            found[row[2]] = document(row)
        if len(found) >= limit:
            bound = sorted(found)[limit - 1]
    return [found[each] for each in sorted(found)[:limit]]


def _keys_after(at: Tenant, audiences: Sequence[str] | None, after: Cursor, limit: int, keys: Sequence[str]) -> Page:
    found: dict[str, Document] = {}
    for key in keys:
        if (it := at.get(key)) is not None:
            found[it.key] = it
        for row in at.run(SQL["by_prefix"], (at.id, f"{key}!", f'{key}"')):  # '"' follows '!'
            found[row[0]] = document(row)
    new = [it for it in found.values() if it.revision > after.revision and _visible(it, audiences)]
    return _page(at, sorted(new, key=attrgetter("revision")), limit)


def _keys_now(at: Tenant, audiences: Sequence[str] | None, keys: Sequence[str]) -> Iterator[Document]:
    for it in map(at.get, keys):
        if it is not None and not it.gone and _visible(it, audiences):
            yield it


def _page(at: Tenant, found: list[Document], limit: int) -> Page:
    if len(found) <= limit:
        return Page(found, at.cursor)
    return Page(found[:limit], Cursor(at.cursor.epoch, found[limit - 1].revision), more=True)


def _visible(it: Document, audiences: Sequence[str] | None) -> bool:
    return audiences is None or not set(audiences).isdisjoint(it.audiences)


def _snapshot(
    at: Tenant, readers: Sequence[str], now: float, recent: int, covered: Callable[[Document], bool]
) -> Iterator[Document]:
    places: list[tuple[int, int]] = []
    for audience in readers:
        reader = at.reader(audience)
        if reader is not None:
            yield from map(document, at.run(SQL["open"], (reader, now)))
            places += at.terms(audience, _RECENT)
    others = _walk(at, places, (-END, END), recent, oldest=False)
    yield from itertools.islice((it for it in others if it.open_until <= now and not covered(it)), recent)
