"""Straight into an engine, without a server between: the same ledger that the server runs, in this process.

Lease, retention, deadlines of kinds and allowed links are those of this host's settings (environment and
``milepost.toml``): let them be the server's.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from milepost import commands, inbox
from milepost.draft import Draft, Terms, new_id
from milepost.engine import Engine, Write
from milepost.engines import JoinsTransactions, open_engine
from milepost.errors import Invalid
from milepost.idempotency import Once
from milepost.ledger import Ledger
from milepost.model import Identity, is_id
from milepost.settings import Settings

from .transport import Verb, encode

_ENDS: dict[Verb, type[commands.Complete | commands.Fail | commands.Cancel]] = {
    "complete": commands.Complete,
    "fail": commands.Fail,
    "cancel": commands.Cancel,
}


class DirectTransport:
    """An engine's URL. Whoever can open the store may write every job of the tenant: there is no token to check."""

    def __init__(
        self, url: str, *, tenant: str, engine: Engine | None = None, settings: Settings | None = None
    ) -> None:
        """``engine``: one that is already open; it is not closed with the transport."""
        if not is_id(tenant):
            raise Invalid("tenant: must be 1 to 128 letters, digits, and . _ : -", field="tenant")
        settings = settings or Settings.load()
        self._identity = Identity("producer", tenant=tenant, scopes=frozenset({"produce:any"}))
        self._is_own = engine is None
        self._engine = engine or open_engine(url)
        self._is_there = False  # whether the store was ever seen
        policy, origins = settings.policy(), settings.allowed_link_origins
        retention = settings.notification_retention
        self._ledger = Ledger(self._engine, policy=policy, link_origins=origins, notification_retention=retention)
        self._terms = Terms(self._engine, policy, origins, retention)

    async def send(
        self, verb: Verb, fields: Mapping[str, Any], *, job: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """See ``Transport``."""
        body = encode(fields)
        once = None if key is None else Once.of(key, f"{verb} {job or ''}", body)
        who = self._identity
        if verb == "start":
            started = await self._ledger.start_job(who, commands.parse(commands.StartJob, body), once)
            return {"job": started.job.full_json()}
        if verb == "notify":
            notes = await self._ledger.notify(who, commands.parse(commands.Notify, body), once)
            return {"notifications": [inbox.load(note).full_json() for note in notes]}
        if job is None or not is_id(job):
            raise Invalid("id: must be 1 to 128 letters, digits, and . _ : -", field="id")
        if verb == "advance":
            return {"job": (await self._ledger.advance(who, job, commands.parse(commands.Advance, body))).full_json()}
        return {"job": (await self._ledger.end(who, job, commands.parse(_ENDS[verb], body), once)).full_json()}

    async def draft(self, verb: str, fields: Mapping[str, Any]) -> list[Write]:
        """What a start or a notification would write, by the same rules. Raises what they refuse it with."""
        if not self._is_there:
            await self._engine.heads([self._identity.tenant])  # makes the tables where there are none yet
            self._is_there = True
        draft = Draft(self._terms, self._identity, time.time())
        body = encode(fields)
        if verb == "start":
            start = commands.parse(commands.StartJob, body)
            await draft.start(start, start.id or new_id())
        else:
            await draft.notify(commands.parse(commands.Notify, body))
        writes, _ = draft.plan()
        return writes

    def commit_in(self, connection: Any, writes: Sequence[Write]) -> Coroutine[Any, Any, None] | None:
        """Make them part of the transaction that a connection is in. Raises ``Invalid``."""
        if not isinstance(self._engine, JoinsTransactions):
            raise Invalid("url: only PostgreSQL can take part in a transaction", field="url")
        return self._engine.commit_in(connection, self._identity.tenant, writes) if writes else None

    async def close(self) -> None:
        """Commit what the ledger still holds back, then let go of the store."""
        await self._ledger.close()
        if self._is_own:
            await self._engine.close()
