"""The limits hold across processes: each tells the others what it counts, through the store that they share.

``Exchange`` reads what the others tell and writes what has changed here, a few times a second; ``Shares`` is what it
knows, without a clock or an await. The door (``limits.Admission``) adds what is counted elsewhere to its own. No
connect waits for the store, and while it is away each process counts on by itself.

Only what may matter is told. Where P processes share a limit L, a user's n streams here are told if n × P ≥ L, or if
that holds for what another process tells of the user. If the limit is reached, one process holds at least its P-th part
and tells it; then all that hold any tell theirs; so whoever must refuse knows the whole. The same with connects, where
one more is refused above L - 1. So a process on its own tells of nobody but those that it refuses.

A process says every ``RENEW_SECONDS`` that it lives. Who has heard nothing of it for ``LEASE_SECONDS``, by their own
clock, stops counting it, so one that was killed frees its share. No two clocks are ever compared.

What can be exceeded: what connects within one exchange at several processes is let in by each of them, and where a
user's streams are spread over many processes it takes two exchanges until all know of all. Nobody is refused for
streams that ended longer ago than that, unless the process that had them was killed. A process that starts cannot tell
who of those that it finds is dead, and counts them for one lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from milepost.engine import Document, Engine, Write
from milepost.errors import MilepostError
from milepost.model import Cursor
from milepost.server.limits import TENANT_SHARE, Admission, Elsewhere, Minutes, Tally
from milepost.server.tickets import SYSTEM_TENANT

INTERVAL: Final = 0.25  # seconds between two exchanges, if they are quick
PART: Final = 0.1  # of its time that a process spends with them, if they are not
RENEW_SECONDS: Final = 3.0
LEASE_SECONDS: Final = 10.0
KEEP_SECONDS: Final = 600.0  # what a process that is gone told is pruned then, or its keys told anew by one that is not
PARTIES_AT_ONCE: Final = 500  # looked at before streams get their turn
DOCUMENTS_AT_ONCE: Final = 8
SHARDS: Final = 32  # documents of a process: one user more rewrites only one of them
AUDIENCE: Final = "share"
KIND: Final = "share"
LIFE: Final = "life"  # in the place of a shard's number

log = logging.getLogger("milepost.server")


class Party(NamedTuple):
    """Who is counted: sort 0 is a user (tenant, user), 1 a tenant, 2 an address."""

    sort: int
    key: Any


class Share(NamedTuple):
    """What one process counts for a party."""

    streams: int
    connects: Minutes


@dataclass(slots=True)
class _Other:
    """Another process, and what it told. ``offset`` is from its clock to ours, at most as late as a message was."""

    heard_at: float
    offset: float
    lives: bool = True
    shards: dict[str, list[Party]] = field(default_factory=dict)
    told: dict[Party, Share] = field(default_factory=dict)

    def share(self, party: Party) -> Share | None:
        """What it counts for a party, on our clock."""
        found = self.told.get(party) if self.lives else None
        if found is None:
            return None
        began, counted, before = found.connects
        return Share(found.streams, Minutes(began + self.offset, counted, before))


class Shares:
    """What a process tells the others, and what they told it. All times are of the door's own clock."""

    def __init__(self, admission: Admission, process: str) -> None:
        self._admission = admission
        self._process = process
        self._tallies = (admission.users, admission.tenants, admission.addresses)
        self._others: dict[str, _Other] = {}
        self._processes = 1  # when it was last looked which parties matter
        self._changed: list[Party] = []
        self._told: defaultdict[str, set[Party]] = defaultdict(set)
        self._stale: set[str] = set()
        self._written_at: dict[str, float] = {}
        for tally in self._tallies:
            tally.changed = set()

    @property
    def processes(self) -> int:
        """How many share the limits, this one included."""
        return 1 + sum(other.lives for other in self._others.values())

    # --- what the others tell --------------------------------------------------------------------------------------

    def take(self, documents: Sequence[Document], now: float, *, everything: bool = False) -> None:
        """Read what was written since the last time, or all that there is."""
        told = [(document, *_named(document.key)) for document in documents if document.kind == KIND]
        if everything:
            there = {document.key for document in documents}
            gone = [(process, shard) for process, other in self._others.items() for shard in (LIFE, *other.shards)]
            gone += [(self._process, shard) for shard in self._written_at]
            for process, shard in gone:
                if _key(process, shard) not in there:
                    self._forget(process, shard)
        for document, process, _ in told:
            if process != self._process and not document.gone:
                stamp = orjson.loads(document.body)[0]
                other = self._others.setdefault(process, _Other(now, now - stamp))
                other.heard_at, other.offset = now, min(other.offset, now - stamp)
                if not other.lives:
                    self._turn(other, lives=True)
        for document, process, shard in told:
            if document.gone:
                self._forget(process, shard)
            elif process == self._process:
                if shard not in self._written_at:  # by one that had our name before us
                    self._written_at[shard] = now
                    self._stale.add(shard)
            elif shard != LIFE:
                self._replace(self._others[process], shard, dict(_entries(document.body)))
        self._others = {process: other for process, other in self._others.items() if other.lives or other.shards}

    def expire(self, now: float) -> None:
        """Stop counting processes that were not heard of for too long."""
        for other in self._others.values():
            if other.lives and now - other.heard_at > LEASE_SECONDS:
                self._turn(other, lives=False)

    def _forget(self, process: str, shard: str) -> None:
        if process == self._process:
            if self._written_at.pop(shard, None) is not None and (shard == LIFE or self._told[shard]):
                # somebody whose clock is far ahead took it for out of date, or the store was emptied
                self._stale.add(shard)
        elif process in self._others:
            other = self._others[process]
            if shard == LIFE:
                self._turn(other, lives=False)
            else:
                self._replace(other, shard, {})

    def _turn(self, other: _Other, *, lives: bool) -> None:
        other.lives = lives
        self._add_up(other.told)

    def _replace(self, other: _Other, shard: str, entries: dict[Party, Share]) -> None:
        before = other.shards.pop(shard, [])
        for party in before:
            other.told.pop(party, None)
        if entries:
            other.shards[shard] = list(entries)
            other.told.update(entries)
        self._add_up({*before, *entries})

    def _add_up(self, parties: Iterable[Party]) -> None:
        for party in parties:
            tally = self._tallies[party.sort]
            shares = self._shares(party)
            if shares:
                tally.elsewhere[party.key] = Elsewhere(
                    sum(share.streams for share in shares), tuple(share.connects for share in shares)
                )
            else:
                tally.elsewhere.pop(party.key, None)
            if tally.changed is not None:
                tally.changed.add(party.key)

    def _shares(self, party: Party) -> list[Share]:
        return [share for other in self._others.values() if (share := other.share(party)) is not None]

    # --- what this one tells ---------------------------------------------------------------------------------------

    def consider(self, now: float, limit: int) -> bool:
        """Find out what has to be told, for at most so many parties; whether there are more."""
        if not self._changed:
            self._changed = self._collect()
        some, self._changed = self._changed[:limit], self._changed[limit:]
        for party in some:
            shard = _shard(party)
            if party in self._told[shard] or self._matters(party, now):
                self._told[shard].add(party)
                self._stale.add(shard)
        return bool(self._changed)

    def writes(self, now: float, wall: float) -> list[Write]:
        """What is to be committed; ``wall`` is UNIX time. Say ``failed`` where it could not be."""
        for shard, at in self._written_at.items():
            if now - at > (RENEW_SECONDS if shard == LIFE else KEEP_SECONDS / 2):
                self._stale.add(shard)
        if LIFE not in self._written_at:
            self._stale.add(LIFE)
        stale, self._stale = self._stale, set()
        return [write for shard in sorted(stale) if (write := self._write(shard, now, wall)) is not None]

    def failed(self, writes: Sequence[Write]) -> None:
        """These were not stored, or nobody knows."""
        for write in writes:
            _, shard = _named(write.key)
            self._written_at.setdefault(shard, -KEEP_SECONDS)
            self._stale.add(shard)

    def farewell(self) -> list[Write]:
        """What takes back all that was told. From now on the door counts only its own."""
        for tally in self._tallies:
            tally.changed = None
            tally.elsewhere.clear()
        return [Write(_key(self._process, shard), KIND, None) for shard in self._written_at]

    def _collect(self) -> list[Party]:
        """The parties whose counts, here or elsewhere, may be others than before."""
        more = self.processes > self._processes  # then each one's part of a limit is smaller than it was
        self._processes = self.processes
        keys: list[set[Any]] = []
        for tally in self._tallies:
            keys.append(tally.changed or set())
            tally.changed = set()
            if more:
                keys[-1] |= {*tally.streams, *tally.connects.keys()}
        keys[1] |= {tenant for tenant, _ in keys[0]}
        return [Party(sort, key) for sort, some in enumerate(keys) for key in some]

    def _matters(self, party: Party, now: float) -> bool:
        """Whether the others have to know what this process counts for a party."""
        tally, (streams_limit, connects_limit) = self._tallies[party.sort], self._limits(party)
        own, count = _own(tally, party, now), self.processes
        others = self._shares(party) if party.key in tally.elsewhere else []
        most = max([own.streams, *(share.streams for share in others)])
        if own.streams and streams_limit is not None and most * count >= streams_limit:
            return True
        weight = own.connects.weight(now)
        heaviest = max([weight, *(share.connects.weight(now) for share in others)])
        return bool(weight and connects_limit and heaviest * count > connects_limit - 1)

    def _limits(self, party: Party) -> tuple[int | None, int]:
        """(streams, connects a minute) that a party may have; None and 0: any number."""
        settings = self._admission.settings
        if party.sort == 2:
            return None, settings.connect_rate
        own = settings.of_tenant(party.key if party.sort else party.key[0])
        if party.sort:
            return own.max_streams_per_tenant, (own.connect_rate or 0) * TENANT_SHARE
        return own.max_streams_per_user, own.connect_rate or 0

    def _write(self, shard: str, now: float, wall: float) -> Write | None:
        key = _key(self._process, shard)
        entries: list[Any] = []
        if shard != LIFE:
            told = self._told[shard] = {party for party in self._told[shard] if self._matters(party, now)}
            if not told:
                return None if self._written_at.pop(shard, None) is None else Write(key, KIND, None)
            for party in told:
                streams, (began, counted, before) = _own(self._tallies[party.sort], party, now)
                entries.append((party.sort, party.key, streams, began, counted, before))
        self._written_at[shard] = now
        return Write(
            key,
            KIND,
            orjson.dumps([now, entries]),
            (AUDIENCE,),
            open_until=float("inf"),
            expires_at=wall + KEEP_SECONDS,
        )


def _own(tally: Tally, party: Party, now: float) -> Share:
    return Share(tally.streams.get(party.key, 0), tally.connects.minutes(party.key, now))


def _entries(body: bytes) -> Iterator[tuple[Party, Share]]:
    for sort, key, streams, began, counted, before in orjson.loads(body)[1]:
        yield Party(sort, tuple(key) if sort == 0 else key), Share(streams, Minutes(began, counted, before))


def _shard(party: Party) -> str:
    return str(zlib.crc32(repr(party).encode(errors="surrogatepass")) % SHARDS)


def _key(process: str, shard: str) -> str:
    return f"{KIND}:{process}/{shard}"


def _named(key: str) -> tuple[str, str]:
    """The process and the shard that a document's key names."""
    process, _, shard = key.removeprefix(f"{KIND}:").rpartition("/")
    return process, shard


class Exchange:
    """Keeps what is counted elsewhere up to date at a door, in a task of its own. ``process``: a name of its own."""

    def __init__(self, admission: Admission, engine: Engine, process: str) -> None:
        self.shares = Shares(admission, process)
        self._engine = engine
        self._now = admission.now
        self._cursor: Cursor | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn what the others count, then begin."""
        with contextlib.suppress(MilepostError):  # then later
            await self.exchange()
        self._task = asyncio.create_task(self._run(), name="milepost-shares")

    async def stop(self) -> None:
        """Take back what was told."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(MilepostError):  # then its lease ends by itself
            await self._engine.commit(SYSTEM_TENANT, self.shares.farewell())

    async def exchange(self) -> None:
        """Read, then write. Raises ``Unavailable``."""
        shares = self.shares
        try:
            await self._learn()
        finally:  # while the store is away, too, leases end, and what has changed is not collected for ever
            now = self._now()
            shares.expire(now)
            while shares.consider(now, PARTIES_AT_ONCE):  # noqa: ASYNC110 - this is the work, not a wait for it
                await asyncio.sleep(0)
        writes = shares.writes(now, time.time())
        if writes:
            try:
                await self._engine.commit(SYSTEM_TENANT, writes)
            except BaseException:
                shares.failed(writes)
                raise

    async def _learn(self) -> None:
        more = True
        while more:
            page = await self._engine.changes(
                SYSTEM_TENANT, [AUDIENCE], self._cursor, now=time.time(), limit=DOCUMENTS_AT_ONCE
            )
            self.shares.take(page.documents, self._now(), everything=self._cursor is None or page.reset is not None)
            self._cursor, more = page.cursor, page.more

    async def _run(self) -> None:
        away = False
        while True:
            begun = self._now()
            try:
                await self.exchange()
                if away:
                    log.warning("limits are shared again")
                away = False
            except MilepostError as error:
                if not away:
                    log.warning("limits are not shared meanwhile: each process counts its own (%s)", error.code)
                away = True
            except Exception:
                log.exception("sharing limits failed")  # a bug there must not leave the door with old counts for ever
                self.shares.expire(self._now())
            pause = (self._now() - begun) * (1 - PART) / PART
            await asyncio.sleep(min(max(INTERVAL, pause), RENEW_SECONDS) * random.uniform(0.8, 1.0))
