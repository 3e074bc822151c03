"""Tickets that any process of any host redeems, where hubs share a store; else those of this process.

A ticket is a document of the system's own tenant, under the hash of its text. Redeeming it makes that document gone, on
condition that it is there: of several who try at the same time, wherever they are, one succeeds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from milepost.engine import Engine, Reach, Write
from milepost.errors import Conflict, Unauthenticated
from milepost.model import Identity
from milepost.tickets import Tickets

# no token can name this tenant: "!" is not in an id
SYSTEM_TENANT: Final = "!system"
KIND: Final = "ticket"


class TicketOffice:
    """Issues and redeems. See ``milepost.tickets`` for the rules, which hold for each process's own issues."""

    def __init__(self, engine: Engine, *, now: Callable[[], float] = time.time) -> None:
        self._engine = None if engine.reach is Reach.PROCESS else engine
        self._own = Tickets(now=now)
        self._now = now

    async def issue(self, identity: Identity, jobs: Sequence[str] = ()) -> tuple[str, int]:
        """(ticket, its lifetime in seconds). Raises ``Unavailable`` where it cannot be stored."""
        text, seconds = self._own.issue(identity, jobs)
        if self._engine is not None:
            ends_at = self._now() + seconds
            body = orjson.dumps([identity.user, identity.tenant, sorted(identity.scopes), identity.jobs,
                                 identity.expires_at, list(dict.fromkeys(jobs)), ends_at])  # fmt: skip
            await self._engine.commit(SYSTEM_TENANT, [Write(_key(text), KIND, body, expires_at=ends_at, replaces=0)])
        return text, seconds

    async def redeem(self, text: str) -> tuple[Identity, tuple[str, ...]]:
        """(identity, jobs that the stream is narrowed to; () = not narrowed). Raises ``Unauthenticated``."""
        if self._engine is not None and text.isascii():
            (stored,) = await self._engine.get(SYSTEM_TENANT, [_key(text)])
            if stored is None:
                self._own.drop(text)
            else:
                try:
                    await self._engine.commit(SYSTEM_TENANT, [Write(stored.key, KIND, None, replaces=stored.revision)])
                except Conflict:
                    raise Unauthenticated("The ticket is unknown or was used before.", code="token_invalid") from None
                user, tenant, scopes, of, expires_at, only, ends_at = orjson.loads(stored.body)
                identity = Identity(user, tenant, frozenset(scopes), tuple(of), expires_at)
                self._own.adopt(text, identity, tuple(only), ends_at)
        return self._own.redeem(text)


def _key(text: str) -> str:
    return f"{KIND}:{hashlib.sha256(text.encode()).hexdigest()}"
