"""Straight into an engine, without a server between: the same ledger that the server runs, in this process.

Lease, retention, deadlines of kinds and allowed links are those of this host's settings (environment and
``milepost.toml``): let them be the server's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milepost import commands, inbox
from milepost.engines import open_engine
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

    def __init__(self, url: str, *, tenant: str) -> None:
        if not is_id(tenant):
            raise Invalid("tenant: must be 1 to 128 letters, digits, and . _ : -", field="tenant")
        settings = Settings.load()
        self._identity = Identity("producer", tenant=tenant, scopes=frozenset({"produce:any"}))
        self._engine = open_engine(url)
        self._ledger = Ledger(
            self._engine,
            policy=settings.policy(),
            link_origins=settings.allowed_link_origins,
            notification_retention=settings.notification_retention,
        )

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

    async def close(self) -> None:
        """Commit what the ledger still holds back, then let go of the store."""
        await self._ledger.close()
        await self._engine.close()
