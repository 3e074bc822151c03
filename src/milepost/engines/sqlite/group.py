"""What a group of commits makes of the file: planned in memory, so that a conflict undoes nothing, then written once.

Several writes of one document in a group cost one row: only the newest revision is kept anyway.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import orjson

from milepost.engine import GONE_SECONDS, MAX_AUDIENCES, Document, Write
from milepost.engines.sqlite.reading import EVERYBODY, OPEN, SEEN, SQL, epoch_of, words
from milepost.errors import Conflict, Invalid

DRAW_SECONDS: Final = 60.0  # a cursor ahead of the head draws a new epoch at most this often


class Connection(Protocol):
    """What of a driver's connection a group needs."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Iterable[Any]:
        """Run a statement and iterate over its rows."""
        ...

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run a statement once for each of the values."""
        ...


def checked(writes: Sequence[Write]) -> Sequence[Write]:
    """The same writes. Raises ``Invalid`` for one that could not be stored: it must not fail the group."""
    try:
        for write in writes:
            if len(write.audiences) > MAX_AUDIENCES:
                raise Invalid(f"a document has at most {MAX_AUDIENCES} audiences", field="audiences")
            if EVERYBODY in write.audiences:
                raise Invalid("an audience has a name", field="audiences")
            "\0".join((write.key, write.kind, *write.audiences, *write.labels)).encode()
    except UnicodeEncodeError:
        raise Invalid("keys, kinds, audiences and labels are valid Unicode", field="key") from None
    return writes


@dataclass(slots=True)
class _Slot:
    """A document that the group has looked at: as the file has it, and as it is to be."""

    id: int | None
    stored: Document | None
    now: Document | None


class _Tenant:
    __slots__ = ("drawn_at", "epoch", "floor", "head", "id", "slots")

    def __init__(self, row: Sequence[Any]) -> None:
        self.id, self.epoch, self.head, self.floor, self.drawn_at = row
        self.slots: dict[str, _Slot] = {}


class Group:
    """One write transaction, between its BEGIN and its COMMIT. ``flush`` writes what was planned.

    ``number`` counts the groups of the file; ``grown`` names the tenants that this one touched.
    """

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._rows = _Rows(connection)
        (self.file, self._secret, last, _) = next(iter(connection.execute(SQL["file"])))
        self.number: int = last + 1
        self.grown: set[str] = set()
        self.renewed = False
        self._tenants: dict[str, _Tenant] = {}

    def commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        """See ``Engine.commit``."""
        at = self._tenant(tenant)
        head = at.head
        new: dict[str, Document] = {}  # taken over only when every write of the commit is possible
        stored = []
        for write in writes:
            old = new.get(write.key) or self._slot(at, write.key).now
            there = old is not None and not old.gone
            if write.replaces is not None and write.replaces != (old.revision if there and old else 0):
                raise Conflict(key=write.key)
            audiences = tuple(dict.fromkeys(write.audiences))
            if old is not None:
                if write.body is None:
                    audiences = old.audiences
                for audience in old.audiences:
                    if audience not in audiences:
                        head += 1
                        left = f"{write.key}!{audience}"
                        new[left] = Document(left, old.kind, head, head, (audience,), b"", gone=True)
            head += 1
            order = write.order
            if order is None:
                order = old.order if there and old else head
            if write.body is None:
                it = Document(write.key, write.kind, head, order, audiences, b"", gone=True)
            else:
                it = Document(
                    write.key,
                    write.kind,
                    head,
                    order,
                    audiences,
                    write.body,
                    write.private,
                    tuple(dict.fromkeys(write.labels)),
                    write.open_until,
                    write.expires_at,
                    write.due_at,
                )
            new[write.key] = it
            stored.append(it)
        for key, it in new.items():
            self._slot(at, key).now = it
        at.head = head
        if stored:
            self.grown.add(tenant)
        return stored

    def touch(self, tenant: str, key: str, revision: int, due_at: float) -> bool:
        """See ``Engine.touch``."""
        slot = self._slot(self._tenant(tenant), key)
        if slot.now is None or slot.now.gone or slot.now.revision != revision:
            return False
        slot.now = slot.now._replace(due_at=due_at)
        return True

    def prune(self, now: float, limit: int) -> int:
        """See ``Engine.prune``."""
        self._now = now
        done = 0
        for tenant, key in list(self._connection.execute(SQL["expired"], (now, limit))):
            self.commit(tenant, [Write(key, self._kind(tenant, key), None)])
            done += 1
        rows = list(self._connection.execute(SQL["gone_before"], (now - GONE_SECONDS, limit - done)))
        for id_, tenant_id, revision, audiences in rows:
            self._connection.execute(SQL["raise_floor"], (revision, tenant_id))
            self._connection.execute(SQL["drop"], (id_,))
            self._rows.unsee(tenant_id, words(audiences), revision, id_)
        return done + len(rows)

    def draw_epoch(self, tenant: str, epoch: str, now: float) -> None:
        """A new epoch for a tenant whose reader proved a rewritten history, if it still has ``epoch``."""
        at = self._tenant(tenant)
        if at.epoch == epoch and abs(now - at.drawn_at) >= DRAW_SECONDS:
            at.epoch, at.drawn_at = secrets.token_hex(6), now
            self._connection.execute(SQL["draw_epoch"], (at.epoch, at.drawn_at, at.id))
            self.grown.add(tenant)

    def probe(self) -> None:
        """See ``Engine.ping``."""
        self._connection.execute(SQL["probe"])

    def renew_epoch(self) -> None:
        """See ``Engine.renew_epoch``."""
        for id_, _ in list(self._connection.execute(SQL["tenants"])):
            self._connection.execute(SQL["renew_tenant"], (secrets.token_hex(6), self.number, id_))
        self._connection.execute(SQL["renew_file"], (secrets.token_hex(16), self.number))
        self.renewed = True

    def flush(self) -> None:
        """Write everything that was planned."""
        for at in self._tenants.values():
            for slot in at.slots.values():
                if slot.now is not None and slot.now is not slot.stored:
                    self._rows.store(at.id, slot.id, slot.stored, slot.now, self._now)
        self._rows.write()
        for name in self.grown:
            at = self._tenants[name]
            self._connection.execute(SQL["grow"], (at.head, self.number, at.id))

    def _tenant(self, name: str) -> _Tenant:
        if name not in self._tenants:
            row = next(iter(self._connection.execute(SQL["tenant"], (name,))), None)
            if row is None:
                epoch = epoch_of(self._secret, name)
                (id_,) = next(iter(self._connection.execute(SQL["add_tenant"], (name, epoch))))
                row = (id_, epoch, 0, 0, -1e9)
            self._tenants[name] = _Tenant(row)
        return self._tenants[name]

    def _slot(self, at: _Tenant, key: str) -> _Slot:
        slot = at.slots.get(key)
        if slot is None:
            slot = at.slots[key] = _Slot(None, None, None)
            for row in self._connection.execute(SQL["stored"], (at.id, key)):
                id_, kind, revision, order, audiences, labels, open_until, expires_at, due_at, gone = row
                slot.id = id_
                slot.stored = slot.now = Document(
                    key=key,
                    kind=kind,
                    revision=revision,
                    order=order,
                    audiences=words(audiences),
                    body=b"",  # not read: a write replaces it, and a touch leaves it
                    labels=words(labels),
                    open_until=open_until,
                    expires_at=expires_at,
                    due_at=due_at,
                    gone=gone == 1,
                )
        return slot

    def _kind(self, tenant: str, key: str) -> str:
        it = self._slot(self._tenant(tenant), key).now
        return it.kind if it is not None else ""


class _Rows:
    """The rows of a group, collected per statement and written in one go each."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next_id = 0
        self._readers: dict[tuple[int, str], int] = {}
        self._terms: dict[str, int] = {}
        self._lists: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _WRITES}

    def store(self, tenant: int, id_: int | None, old: Document | None, new: Document, now: float) -> None:
        """One document from what the file has to what it is to have."""
        lists = self._lists
        gone_at = now if new.gone else None
        if id_ is None or old is None:
            id_ = self._new_id()
            lists["insert"].append(
                (id_, tenant, new.key, new.kind, new.revision, new.order, _text(new.audiences), new.body, new.private,
                 _text(new.labels), new.open_until, new.expires_at, new.due_at, gone_at)
            )  # fmt: skip
        elif new.revision == old.revision:
            lists["touch"].append((new.due_at, id_))
            return
        elif _same_places(old, new):
            lists["tick"].append((new.revision, new.body, new.private, new.due_at, id_))
            lists["move"] += [(new.revision, reader, old.revision) for reader in self._see(tenant, new.audiences)]
            return
        else:
            lists["rewrite"].append(
                (new.kind, new.revision, new.order, _text(new.audiences), new.body, new.private, _text(new.labels),
                 new.open_until, new.expires_at, new.due_at, gone_at, id_)
            )  # fmt: skip
        there, wanted = () if old is None else self._places(tenant, old), self._places(tenant, new)
        lists["take"] += [(*place, id_) for place in there if place not in wanted]
        lists["put"] += [(*place, id_) for place in wanted if place not in there]
        if "@" in new.key:
            parts = new.key.split("@")
            splits = [(tenant, "@".join(parts[i:]), "@".join(parts[:i])) for i in range(1, len(parts))]
            lists["drop_cover" if new.gone else "add_cover"] += splits

    def unsee(self, tenant: int, audiences: Sequence[str], revision: int, id_: int) -> None:
        """At once: a dropped document is seen by nobody, and an audience that sees nothing loses its number."""
        for audience in (EVERYBODY, *audiences):
            reader = self._reader(tenant, audience)
            self._connection.execute(SQL["take"], (reader, SEEN, revision, id_))
            self._connection.execute(SQL["drop_reader"], (reader,))
            del self._readers[tenant, audience]

    def write(self) -> None:
        """Run every statement once, over all its rows."""
        for name, rows in self._lists.items():
            if rows:
                self._connection.executemany(SQL[name], rows)

    def _see(self, tenant: int, audiences: Sequence[str]) -> list[int]:
        """Who sees a document: everybody who reads the whole tenant, and its audiences."""
        return [self._reader(tenant, audience) for audience in (EVERYBODY, *audiences)]

    def _places(self, tenant: int, it: Document) -> list[tuple[int, int, float]]:
        """Where a document stands: (reader, term, at)."""
        places: list[tuple[int, float]] = [(SEEN, it.revision)]
        if not it.gone:
            places.append((self._term(_text((it.kind, *it.labels))), it.order))
            if it.open_until > 0:
                places.append((OPEN, it.open_until))
        return [(reader, term, at) for reader in self._see(tenant, it.audiences) for term, at in places]

    def _reader(self, tenant: int, audience: str) -> int:
        number = self._readers.get((tenant, audience))
        if number is None:
            number = self._number("reader", (tenant, audience))
            self._readers[tenant, audience] = number
        return number

    def _term(self, text: str) -> int:
        number = self._terms.get(text)
        if number is None:
            number = self._terms[text] = self._number("term", (text,))
        return number

    def _number(self, table: str, values: tuple[Any, ...]) -> int:
        for (number,) in self._connection.execute(SQL[table], values):
            return int(number)
        ((number,),) = self._connection.execute(SQL[f"add_{table}"], values)
        return int(number)

    def _new_id(self) -> int:
        if self._next_id == 0:
            ((self._next_id,),) = self._connection.execute(SQL["last_id"])
        self._next_id += 1
        return self._next_id


_WRITES: Final = (
    "insert",
    "tick",
    "rewrite",
    "touch",
    "move",
    "take",
    "put",
    "drop_cover",
    "add_cover",
)


@lru_cache(maxsize=8192)
def _text(of: tuple[str, ...]) -> str:
    return orjson.dumps(of).decode()


def _same_places(old: Document, new: Document) -> bool:
    return (
        old.order == new.order
        and old.labels == new.labels
        and old.audiences == new.audiences
        and old.open_until == new.open_until
        and old.expires_at == new.expires_at
        and old.kind == new.kind
        and not old.gone
        and not new.gone
    )
