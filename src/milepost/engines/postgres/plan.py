"""What a group of commits makes of the store: planned in memory, so that a conflict undoes nothing, then written once.

Several writes of one document in a group cost one row: only the newest revision is kept anyway. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from milepost.engine import MAX_AUDIENCES, Document, Write
from milepost.errors import Conflict, Invalid


def reader(tenant: str, audience: str) -> str:
    """An audience as the index of all tenants knows it."""
    return f"{tenant}/{audience}"


def checked(tenant: str, writes: Sequence[Write]) -> Sequence[Write]:
    """The same writes. Raises ``Invalid`` for one that could not be stored: it must not fail the group."""
    for write in writes:
        if len(write.audiences) > MAX_AUDIENCES:
            raise Invalid(f"a document has at most {MAX_AUDIENCES} audiences", field="audiences")
        words = "".join((tenant, write.key, write.kind, *write.audiences, *write.labels))
        if "\0" in words or not storable(words):
            raise Invalid("keys, kinds, audiences and labels are valid Unicode without NUL", field="key")
    return writes


def storable(text: str) -> bool:
    """Whether it is text to PostgreSQL, which has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(slots=True)
class _Tenant:
    id: int
    head: int


@dataclass(slots=True)
class Plan:
    """One transaction, from what was found to what is to be written. Made anew for each try of a group."""

    tenants: dict[str, _Tenant]
    found: dict[tuple[str, str], Document]
    put: dict[tuple[str, str], tuple[Document, float | None]] = field(default_factory=dict)
    touched: dict[tuple[str, str], float] = field(default_factory=dict)
    grown: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, heads: Iterable[Sequence[Any]], stored: Iterable[Sequence[Any]]) -> Plan:
        """From the rows of the statements ``lock`` and ``stored``."""
        return cls(
            {name: _Tenant(id_, head) for name, id_, head in heads},
            {
                # body and labels are not read: a write replaces them, and a touch leaves them
                (tenant, key): Document(key, kind, revision, order, audiences_of(tenant, readers), b"", gone=gone)
                for tenant, key, kind, revision, order, readers, gone in stored
            },
        )

    def commit(self, tenant: str, writes: Sequence[Write], now: float) -> list[Document]:
        """See ``Engine.commit``."""
        at = self.tenants[tenant]
        head = at.head
        new: dict[str, Document] = {}  # taken over only when every write of the commit is possible
        stored = []
        for write in writes:
            old = new.get(write.key) or self._now(tenant, write.key)
            there = old if old is not None and not old.gone else None
            if write.replaces is not None and write.replaces != (there.revision if there else 0):
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
                order = there.order if there else head
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
            self.put[tenant, key] = (it, now if it.gone else None)
            self.touched.pop((tenant, key), None)
        at.head = self.grown[tenant] = head
        return stored

    def touch(self, tenant: str, key: str, revision: int, due_at: float) -> bool:
        """See ``Engine.touch``."""
        it = self._now(tenant, key)
        if it is None or it.gone or it.revision != revision:
            return False
        if (tenant, key) in self.put:
            self.put[tenant, key] = (it._replace(due_at=due_at), None)
        else:
            self.touched[tenant, key] = due_at
        return True

    def statements(self) -> list[tuple[str, dict[str, Any]]]:
        """What is to be run, with its values."""
        todo: list[tuple[str, dict[str, Any]]] = []
        if self.put:
            todo.append(("put", self._rows()))
        if self.touched:
            ids = [self.tenants[tenant].id for tenant, _ in self.touched]
            keys = [key for _, key in self.touched]
            todo.append(("touch", {"tenant": ids, "key": keys, "due_at": list(self.touched.values())}))
        if self.grown:
            ids = [self.tenants[tenant].id for tenant in self.grown]
            todo += [("grow", {"ids": ids, "heads": list(self.grown.values())}), ("notify", {})]
        return todo

    def _now(self, tenant: str, key: str) -> Document | None:
        planned = self.put.get((tenant, key))
        return planned[0] if planned else self.found.get((tenant, key))

    def _rows(self) -> dict[str, list[Any]]:
        documents = [it for it, _ in self.put.values()]
        return {
            "tenant": [self.tenants[tenant].id for tenant, _ in self.put],
            "key": [it.key for it in documents],
            "kind": [it.kind for it in documents],
            "revision": [it.revision for it in documents],
            "ord": [it.order for it in documents],
            "readers": [
                _array(tuple(reader(tenant, audience) for audience in it.audiences))
                for (tenant, _), (it, _) in self.put.items()
            ],
            "labels": [_array(it.labels) for it in documents],
            "open_until": [float(it.open_until) for it in documents],
            "expires_at": [_float(it.expires_at) for it in documents],
            "due_at": [_float(it.due_at) for it in documents],
            "gone_at": [gone_at for _, gone_at in self.put.values()],
            "body": [it.body for it in documents],
            "private": [it.private for it in documents],
        }


def keys_of(tasks: Iterable[tuple[str, Iterable[str]]]) -> Mapping[str, list[str]]:
    """The values of the statement ``stored`` for tenants and their keys, each key once."""
    wanted = list(dict.fromkeys((tenant, key) for tenant, keys in tasks for key in keys))
    return {"tenants": [tenant for tenant, _ in wanted], "keys": [key for _, key in wanted]}


def audiences_of(tenant: str, readers: Sequence[str]) -> tuple[str, ...]:
    """The inverse of ``reader``, for all audiences of a document."""
    begin = len(tenant) + 1
    return tuple([each[begin:] for each in readers])


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


@lru_cache(maxsize=8192)
def _array(words: tuple[str, ...]) -> str:
    """An array as PostgreSQL writes one: arrays of different lengths cannot be the elements of another array."""
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words)
    return "{" + ",".join(f'"{word}"' for word in quoted) + "}"
