"""The outbox: commits that an application makes in a transaction of its own, and that a hub gives revisions later.

To take the tenant's head row in the application's transaction would hold up every other commit of the tenant for as
long as that transaction runs. So its writes are put into a table, which costs one INSERT and locks nothing; where it is
rolled back they were never there.
"""

from __future__ import annotations

import base64
import inspect
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import psycopg
from psycopg.pq import TransactionStatus

from milepost.engine import Write
from milepost.engines.postgres.plan import Plan
from milepost.engines.postgres.session import Session
from milepost.errors import Conflict, Invalid

BATCH: Final = 100  # rows that are moved in one transaction

_SQLALCHEMY: Final = ("Connection", "Session", "AsyncConnection", "AsyncSession")
_INSERT: Final = "INSERT INTO milepost.outbox (tenant, writes) VALUES ({}, {})"

log = logging.getLogger("milepost.postgres")


@dataclass(slots=True)
class Outbox:
    """The rows that one transaction of a hub moves."""

    ids: list[int] = field(default_factory=list)
    has_more: bool = False
    _commits: list[tuple[int, str, list[Write]]] = field(default_factory=list)

    async def read(self, session: Session) -> list[tuple[str, list[str]]]:
        """Begin the transaction and take the oldest rows, unless another hub is at it; their tenants and keys."""
        *_, ((alone,),) = await session.run(("BEGIN", {}), ("relay_alone", {}))
        rows = await session.rows("outbox", limit=BATCH) if alone else []
        self.has_more = len(rows) == BATCH
        for id_, tenant, text in rows:
            self.ids.append(id_)
            try:
                self._commits.append((id_, tenant, _load(text)))
            except (ValueError, TypeError):
                log.exception("row %d of the outbox was not written by Milepost and is dropped", id_)
        return [(tenant, [write.key for write in writes]) for _, tenant, writes in self._commits]

    def carry_out(self, plan: Plan) -> None:
        """Take the rows into the plan. One whose ``replaces`` does not hold any more is too late, and dropped."""
        for id_, tenant, writes in self._commits:
            try:
                plan.commit(tenant, writes, time.time())
            except Conflict as conflict:
                log.warning("row %d of the outbox came too late for %s", id_, conflict.details.get("key"))


def insert(connection: Any, tenant: str, writes: Sequence[Write]) -> Coroutine[Any, Any, None] | None:
    """Put a commit into the outbox, in the transaction that the connection is in; to be awaited where it is async.

    ``connection``: psycopg's Connection or AsyncConnection, or SQLAlchemy's Connection, Session, AsyncConnection or
    AsyncSession (with any driver). Raises ``Invalid`` for anything else, and for one that commits by itself.
    """
    statement: Any
    values: Any
    if isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
            raise Invalid("connection: it commits by itself, so it is in no transaction", field="connection")
        statement, values = _INSERT.format("%s", "%s").encode(), (tenant, _dump(writes))
    elif _is_sqlalchemy(connection):
        import sqlalchemy

        statement = sqlalchemy.text(_INSERT.format(":tenant", ":writes"))
        values = {"tenant": tenant, "writes": _dump(writes)}
    else:
        raise Invalid("connection: must be one of psycopg or SQLAlchemy", field="connection")
    if not inspect.iscoroutinefunction(connection.execute):
        connection.execute(statement, values)
        return None

    async def run() -> None:
        await connection.execute(statement, values)

    return run()


def _is_sqlalchemy(connection: object) -> bool:
    kinds = {f"{kind.__module__.partition('.')[0]} {kind.__name__}" for kind in type(connection).__mro__}
    return not kinds.isdisjoint(f"sqlalchemy {name}" for name in _SQLALCHEMY)


def _dump(writes: Sequence[Write]) -> str:
    return orjson.dumps(
        [
            {
                "key": it.key,
                "kind": it.kind,
                "body": None if it.body is None else base64.b64encode(it.body).decode(),
                "audiences": it.audiences,
                "private": base64.b64encode(it.private).decode(),
                "labels": it.labels,
                "order": it.order,
                "open_until": repr(float(it.open_until)),  # it may be infinite
                "expires_at": it.expires_at,
                "due_at": it.due_at,
                "replaces": it.replaces,
            }
            for it in writes
        ]
    ).decode()


def _load(text: str) -> list[Write]:
    return [
        Write(
            **{
                **raw,
                "body": None if raw["body"] is None else base64.b64decode(raw["body"]),
                "audiences": tuple(raw["audiences"]),
                "private": base64.b64decode(raw["private"]),
                "labels": tuple(raw["labels"]),
                "open_until": float(raw["open_until"]),
            }
        )
        for raw in orjson.loads(text)
    ]
