"""One-time tickets: what stands for an identity in the URL of a stream, for whoever cannot send a header."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from milepost.auth import MAX_SHARED_JOBS
from milepost.errors import Invalid, RateLimited, Unauthenticated
from milepost.model import Identity, is_id

TICKET_SECONDS: Final = 30
MAX_TICKETS: Final = 50_000
MAX_TICKETS_PER_USER: Final = 100

_PREFIX = "mt_"  # so that a ticket can be told from a token, and found in a log where it must not be
_LENGTH = len(_PREFIX) + 43


@dataclass(frozen=True, slots=True)
class _Ticket:
    identity: Identity
    only: tuple[str, ...]
    ends_at: float


class Tickets:
    """One-time tickets that stand for an identity in the URL of a stream: 256 bits, one use, 30 seconds.

    Held in memory by their SHA-256, at most ``MAX_TICKETS`` and ``MAX_TICKETS_PER_USER``; who asks beyond that gets
    ``RateLimited``, and no ticket of anybody else is dropped for it. Not promised: that a ticket works on another
    process than the one that issued it; ``adopt`` and ``drop`` are for whoever promises that.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._held: OrderedDict[bytes, _Ticket] = OrderedDict()  # oldest first, since all live equally long
        self._of_user: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def issue(self, identity: Identity, jobs: Sequence[str] = ()) -> tuple[str, int]:
        """(ticket, its lifetime in seconds). With ``jobs``, streams opened with it are about these jobs only."""
        if len(jobs) > MAX_SHARED_JOBS or not all(is_id(job) for job in jobs):
            raise Invalid(f"jobs must be at most {MAX_SHARED_JOBS} ids.", field="jobs")
        now = self._now()
        self._forget(now)
        user = (identity.tenant, identity.user)
        if self._of_user.get(user, 0) >= MAX_TICKETS_PER_USER or len(self._held) >= MAX_TICKETS:
            raise RateLimited("Too many unused tickets; wait as Retry-After says.", retry_after=float(TICKET_SECONDS))
        ticket = _PREFIX + secrets.token_urlsafe(32)
        self._held[_digest(ticket)] = _Ticket(identity, tuple(dict.fromkeys(jobs)), now + TICKET_SECONDS)
        self._of_user[user] = self._of_user.get(user, 0) + 1
        return ticket, TICKET_SECONDS

    def redeem(self, ticket: str) -> tuple[Identity, tuple[str, ...]]:
        """(identity, jobs that the stream is narrowed to; () = not narrowed). Raises ``Unauthenticated``.

        Narrowing only takes away: it is a filter on what the identity sees, and gives no audience of its own. An
        identity that carries a share token's jobs keeps only the ones that are left.
        """
        if len(ticket) != _LENGTH or not ticket.startswith(_PREFIX) or not ticket.isascii():
            raise Unauthenticated("The ticket cannot be read.", code="token_malformed")
        held = self._held.pop(_digest(ticket), None)
        if held is None:
            raise Unauthenticated("The ticket is unknown or was used before.", code="token_invalid")
        self._uncount(held.identity)
        now = self._now()
        if held.ends_at <= now or (held.identity.expires_at or math.inf) <= now:
            raise Unauthenticated("The ticket has expired; ask for a new one.", code="token_expired")
        if not held.only:
            return held.identity, ()
        kept = tuple(job for job in held.identity.jobs if job in held.only)
        return replace(held.identity, jobs=kept), held.only

    def adopt(self, ticket: str, identity: Identity, only: tuple[str, ...], ends_at: float) -> None:
        """Hold a ticket that another process issued, to be redeemed at once."""
        self.drop(ticket)
        self._held[_digest(ticket)] = _Ticket(identity, only, ends_at)
        user = (identity.tenant, identity.user)
        self._of_user[user] = self._of_user.get(user, 0) + 1

    def drop(self, ticket: str) -> None:
        """Forget a ticket that was used elsewhere."""
        held = self._held.pop(_digest(ticket), None)
        if held is not None:
            self._uncount(held.identity)

    def _forget(self, now: float) -> None:
        while self._held:
            digest, oldest = next(iter(self._held.items()))
            if oldest.ends_at > now:
                return
            del self._held[digest]
            self._uncount(oldest.identity)

    def _uncount(self, identity: Identity) -> None:
        user = (identity.tenant, identity.user)
        left = self._of_user[user] - 1
        if left:
            self._of_user[user] = left
        else:
            del self._of_user[user]


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).digest()
