"""The reads of the PostgreSQL engine: one statement each, and so one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from milepost.engine import Counts, Document, Due, Page, Question, ResetReason
from milepost.engines.postgres.plan import audiences_of, reader
from milepost.engines.postgres.session import Session, away
from milepost.model import Cursor

END: Final = 2**62  # above every revision and order
NEAR: Final = 500  # revisions between a cursor and the head that are looked through faster than an audience

_revision = attrgetter("revision")


class Ahead(Exception):
    """A cursor of this epoch is ahead of the head: who reads has a new epoch drawn and reads again."""


class Reader:
    """Reads for one engine; remembers where it saw the heads, which says which way to read is the shorter one."""

    def __init__(self) -> None:
        self._heads: dict[str, int] = {}

    async def get(self, session: Session, tenant: str, keys: Sequence[str]) -> list[Document | None]:
        """See ``Engine.get``."""
        found = {row[0]: _document(tenant, row) for row in await session.rows("get", tenant=tenant, keys=list(keys))}
        return [found.get(key) for key in keys]

    async def heads(self, session: Session, tenants: Sequence[str]) -> list[Cursor]:
        """See ``Engine.heads``."""
        rows = await session.rows("heads", tenants=list(tenants))
        if len(rows) != len(tenants):
            raise away("the store is empty")
        return [Cursor(*row) for row in rows]

    async def count(self, session: Session, tenant: str, questions: Sequence[Question]) -> Counts:
        """See ``Engine.count``."""
        rows = await session.rows(
            "count",
            tenant=tenant,
            readers=[reader(tenant, it.audience) for it in questions],
            labels=[it.label for it in questions],
            above=[it.above for it in questions],
        )
        epoch, head, _ = _first(rows)
        return Counts([value for _, _, value in rows] if questions else [], Cursor(epoch, head))

    async def due(self, session: Session, now: float, limit: int) -> list[Due]:
        """See ``Engine.due``."""
        rows = await session.rows("due", now=float(now), limit=limit)
        return [Due(row[0], _document(row[0], row[1:])) for row in rows]

    async def find(
        self,
        session: Session,
        tenant: str,
        audiences: Sequence[str] | None,
        *,
        kind: str,
        labels: Sequence[str],
        bounds: tuple[int | None, int | None],
        oldest: bool,
        limit: int,
    ) -> Page:
        """See ``Engine.find``."""
        after, before = bounds
        values: dict[str, Any] = {
            "tenant": tenant,
            "kind": kind,
            "labels": list(labels),
            "above": -END if after is None else after,
            "below": END if before is None else before,
            "limit": limit + 1,
        }
        if audiences is None:
            rows = await session.rows("oldest" if oldest else "newest", **values)
        else:
            rows = await session.rows("find", **values, **_readers(tenant, audiences), way=1 if oldest else -1)
        cursor, _, found = self._answer(tenant, rows)
        found.sort(key=attrgetter("order"), reverse=not oldest)
        return Page(found[:limit], cursor, more=len(found) > limit)

    async def changes(
        self,
        session: Session,
        tenant: str,
        audiences: Sequence[str] | None,
        after: Cursor | None,
        *,
        now: float,
        limit: int,
        recent: int,
        keys: Sequence[str] | None,
        proven: bool,
    ) -> Page:
        """See ``Engine.changes``. Raises ``Ahead`` unless it is ``proven`` that the cursor was one of this history."""
        reset: ResetReason | None = "ahead" if proven else None
        if after is not None and not proven:
            page = await self._after(session, tenant, audiences, after, limit, keys)
            if isinstance(page, Page):
                return page
            reset = page
        values: dict[str, Any] = {"tenant": tenant}
        if keys is not None:
            values |= {**_readers(tenant, audiences or ()), "keys": list(keys), "all": audiences is None}
            rows = await session.rows("keys_now", **values)
        elif audiences is None:
            rows = await session.rows("snapshot_all", **values, now=float(now), recent=recent)
        else:
            readers = _readers(tenant, audiences)
            rows = await session.rows("snapshot", **values, **readers, now=float(now), recent=recent)
        cursor, _, found = self._answer(tenant, rows)
        return Page(found, cursor, reset=reset)

    async def _after(
        self,
        session: Session,
        tenant: str,
        audiences: Sequence[str] | None,
        after: Cursor,
        limit: int,
        keys: Sequence[str] | None,
    ) -> Page | ResetReason:
        values: dict[str, Any] = {"tenant": tenant, "epoch": after.epoch, "after": after.revision}
        readers = [reader(tenant, audience) for audience in audiences or ()]
        if keys is not None:
            values |= {"keys": list(keys), "all": audiences is None, "readers": readers}
            rows = await session.rows("keys_after", **values)
        elif audiences is None:
            rows = await session.rows("after_all", **values, limit=limit + 1)
        else:
            near = self._heads.get(tenant, END) - after.revision <= NEAR
            rows = await session.rows("after_near" if near else "after_far", **values, readers=readers, limit=limit + 1)
        cursor, floor, found = self._answer(tenant, rows)
        if after.epoch != cursor.epoch:
            return "epoch"
        if after.revision > cursor.revision:
            raise Ahead
        if after.revision < floor:
            return "expired"
        if len(found) <= limit:
            return Page(found, cursor)
        return Page(found[:limit], Cursor(cursor.epoch, found[limit - 1].revision), more=True)

    def _answer(self, tenant: str, rows: Sequence[Sequence[Any]]) -> tuple[Cursor, int, list[Document]]:
        """The head, the floor, and the documents by revision, each once."""
        epoch, head, floor = _first(rows)[:3]
        self._heads[tenant] = head
        found = {row[3]: _document(tenant, row[3:]) for row in rows if row[3] is not None}
        return Cursor(epoch, head), floor, sorted(found.values(), key=_revision)


def _first(rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
    if not rows:
        raise away("the store is empty")
    return rows[0]


def _readers(tenant: str, audiences: Sequence[str]) -> dict[str, Any]:
    unique = list(dict.fromkeys(audiences))
    return {"readers": [reader(tenant, audience) for audience in unique], "audiences": unique}


def _document(tenant: str, row: Sequence[Any]) -> Document:
    key, kind, revision, order, readers, body, private, labels, open_until, expires_at, due_at, gone = row
    return Document(
        key,
        kind,
        revision,
        order,
        audiences_of(tenant, readers),
        body,
        private,
        tuple(labels),
        open_until,
        expires_at,
        due_at,
        gone,
    )
