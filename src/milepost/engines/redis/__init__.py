"""Redis and Valkey as an engine: any number of hubs and producers on any number of hosts. Redis 6.2 or newer.

What an acknowledged commit survives is for Redis's own settings to say; ``?durability=strict`` (every commit on its
disk) and ``?durability=replicated`` (and at one replica) refuse a server that is set to less. Redis forgets
acknowledged commits only where it restarts or a replica takes over, and each of these makes a new epoch: readers are
told (``reset``), never left in silence. A cluster is noticed by itself; each tenant lives on one of its shards.

Only the primary is read. Every verb answers or raises ``Unavailable`` within two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from milepost.engine import GONE_SECONDS, Counts, Document, Due, Page, Question, Reach, Write
from milepost.engines.redis.address import SCHEMES, Address, away
from milepost.engines.redis.client import TENANTS, Client
from milepost.engines.redis.documents import document, documents, number, root
from milepost.engines.redis.hints import Hints
from milepost.engines.redis.terms import Watch
from milepost.errors import Invalid
from milepost.model import Cursor

__all__ = ["SCHEMES", "RedisEngine"]

ROOTS: Final = 500  # tenants that one script looks at


class RedisEngine:
    """``milepost.engine.Engine`` over one Redis, or one cluster. Safe for any number of event loops, and across a fork.

    Connects when it is first used, and by itself again. Raises ``Invalid`` for a URL that cannot be meant.
    """

    def __init__(self, url: str) -> None:
        self._address = Address(url)
        self._watch = Watch(self._address.durability)
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = weakref.WeakKeyDictionary()
        self._pid = os.getpid()
        self._known: set[str] = set()
        self._closed = False

    @property
    def reach(self) -> Reach:
        """As far as the network."""
        return Reach.NETWORK

    async def get(self, tenant: str, keys: Sequence[str]) -> list[Document | None]:
        """See ``Engine.get``."""
        answer = await self._client().run("get", [root(tenant)], *_encoded(keys))
        found = [None if blob is None else document(key, blob) for key, blob in zip(keys, answer, strict=True)]
        return [None if it is None or it.gone else it for it in found]

    async def commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        """See ``Engine.commit``. Raises ``Invalid`` for a write that no store could hold."""
        if not writes:
            return []
        client = self._client()
        with client.begun():
            await self._meet(client, [tenant])
            return await client.commit(tenant, writes)

    async def touch(self, tenant: str, key: str, *, revision: int, due_at: float) -> bool:
        """See ``Engine.touch``."""
        arguments = (*_encoded([key]), b"%d" % revision, number(due_at))
        return bool(await self._client().run("touch", [root(tenant)], *arguments, write=True))

    async def changes(
        self,
        tenant: str,
        audiences: Sequence[str] | None,
        after: Cursor | None,
        *,
        now: float,
        limit: int = 256,
        recent: int = 20,
        keys: Sequence[str] | None = None,
    ) -> Page:
        """See ``Engine.changes``."""
        client = self._client()
        await self._meet(client, [tenant])
        epoch, revision, more, reset, found = await client.run(
            "changes",
            [root(tenant)],
            tenant.encode(),
            number(now),
            b"%d" % limit,
            b"%d" % recent,
            b"" if after is None else after.epoch.encode(),
            b"0" if after is None else b"%d" % after.revision,
            *_counted([""] if audiences is None else audiences),
            *([b"-1"] if keys is None else _counted(keys)),
        )
        if reset == b"ahead":
            await client.hint(tenant.encode())
        cursor = Cursor(epoch.decode(), int(revision))
        page = sorted(documents(found), key=attrgetter("revision"))
        return Page(page, cursor, more=more == 1, reset=reset.decode() or None)

    async def find(
        self,
        tenant: str,
        audiences: Sequence[str] | None,
        *,
        kind: str,
        labels: Sequence[str] = (),
        before: int | None = None,
        after: int | None = None,
        oldest: bool = False,
        limit: int = 50,
    ) -> Page:
        """See ``Engine.find``."""
        client = self._client()
        await self._meet(client, [tenant])
        epoch, head, more, found = await client.run(
            "find",
            [root(tenant)],
            *_encoded([kind]),
            b"-inf" if after is None else b"(%d" % after,
            b"+inf" if before is None else b"(%d" % before,
            b"oldest" if oldest else b"newest",
            b"%d" % limit,
            *_counted([""] if audiences is None else audiences),
            *_counted(labels),
        )
        return Page(list(documents(found)), Cursor(epoch.decode(), int(head)), more=more == 1)

    async def count(self, tenant: str, questions: Sequence[Question]) -> Counts:
        """See ``Engine.count``."""
        client = self._client()
        await self._meet(client, [tenant])
        asked = [word for it in questions for word in (it.audience, it.label, it.above)]
        epoch, head, *values = await client.run("count", [root(tenant)], *_encoded(asked))
        return Counts(values, Cursor(epoch.decode(), int(head)))

    async def heads(self, tenants: Sequence[str]) -> list[Cursor]:
        """See ``Engine.heads``."""
        client = self._client()
        await self._meet(client, tenants)
        found: list[Cursor] = []
        for answer in await self._for_all(client, "heads", tenants):
            found += [Cursor(epoch.decode(), int(head)) for epoch, head in zip(answer[::2], answer[1::2], strict=True)]
        return found

    async def due(self, *, now: float, limit: int = 256) -> list[Due]:
        """See ``Engine.due``."""
        client = self._client()
        tenants = await self._tenants(client)
        found = []
        for some, answer in zip(
            await self._parted(client, tenants),
            await self._for_all(client, "due", tenants, number(now), b"%d" % limit),
            strict=True,
        ):
            for place, key, blob in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
                found.append(Due(some[place - 1], document(key.decode(), blob)))
        found.sort(key=lambda it: it.document.due_at or 0.0)
        return found[:limit]

    async def renew_epoch(self) -> None:
        """See ``Engine.renew_epoch``."""
        client = self._client()
        for tenant in await self._tenants(client):
            await client.run("epoch", [root(tenant)], tenant.encode(), write=True)
            await client.hint(tenant.encode())

    @contextlib.asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str | None]]:
        """See ``Engine.hints``. They outlive every interruption, and say None after each."""
        hints = Hints(self._address, self._client())
        await hints.open()
        try:
            yield hints
        finally:
            await hints.close()

    async def prune(self, *, now: float, limit: int = 1000) -> int:
        """See ``Engine.prune``."""
        client = self._client()
        done = 0
        for tenant in await self._tenants(client):
            arguments = (tenant.encode(), number(now), number(now - GONE_SECONDS), b"%d" % (limit - done))
            pruned = await client.run("prune", [root(tenant)], *arguments, write=True)
            if pruned:
                await client.hint(tenant.encode())
            done += pruned
            if done >= limit:
                break
        return done

    async def ping(self) -> None:
        """See ``Engine.ping``. Writes one key on every primary, so that a full memory shows itself."""
        await self._client().ping()

    async def close(self) -> None:
        """See ``Engine.close``. Afterwards every other method raises ``Unavailable``."""
        if self._closed:
            return
        self._closed = True
        here = asyncio.get_running_loop()
        for loop, client in list(self._clients.items()) if self._pid == os.getpid() else ():
            if loop is here:
                await client.close()
            elif loop.is_running():
                with contextlib.suppress(RuntimeError):  # it has just ended, and its connections with it
                    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.close(), loop))

    def _client(self) -> Client:
        """The client of the running loop: connections belong to a loop, and never to a forked child."""
        if self._closed:
            raise away("the engine is closed")
        if self._pid != os.getpid():
            self._clients, self._pid = weakref.WeakKeyDictionary(), os.getpid()
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = Client(self._address, self._watch)
        return client

    async def _meet(self, client: Client, tenants: Iterable[str]) -> None:
        """See that tenants are in the set of all tenants, once per process."""
        new = [tenant for tenant in tenants if tenant not in self._known]
        if new:
            _encoded(new)
            await client.register(new)
            self._known.update(new)

    async def _tenants(self, client: Client) -> list[str]:
        """All tenants. Those that this process knows are put back where the set has lost them."""
        listed = {name.decode() for name in await client.command(TENANTS, b"SMEMBERS", TENANTS)}
        if missing := self._known - listed:
            await client.register(sorted(missing))
        self._known |= listed
        return sorted(self._known)

    async def _parted(self, client: Client, tenants: Sequence[str]) -> list[Sequence[str]]:
        """The tenants in parts that one script may look at: in a cluster that is one."""
        size = ROOTS if (await client.shards()).starts is None else 1
        return [tenants[first : first + size] for first in range(0, len(tenants), size)]

    async def _for_all(self, client: Client, name: Any, tenants: Sequence[str], *arguments: bytes) -> list[Any]:
        parts = await self._parted(client, tenants)
        asking = [client.run(name, [root(tenant) for tenant in part], *arguments) for part in parts]
        return await asyncio.gather(*asking)


def _encoded(words: Iterable[str]) -> list[bytes]:
    try:
        return [word.encode() for word in words]
    except UnicodeEncodeError:
        raise Invalid("names are valid Unicode", field="key") from None


def _counted(words: Sequence[str]) -> list[bytes]:
    found = list(dict.fromkeys(words))
    return [b"%d" % len(found), *_encoded(found)]
