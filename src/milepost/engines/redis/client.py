"""Asks the right server until it answers or the time is over, and puts commits that wait together into one script.

Every question here may be asked twice: reads change nothing, and a group of commits carries a number by which the
script knows it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import ResponseError

from milepost.engine import Document, Write
from milepost.engines.redis.address import CHANNEL, Address, Node, away
from milepost.engines.redis.documents import Prepared, root
from milepost.engines.redis.link import Command, Link, Lost, explain
from milepost.engines.redis.scripts import HASHES, Name
from milepost.engines.redis.terms import SHARDED, Watch
from milepost.errors import Unavailable

CALL_SECONDS: Final = 1.8  # for how long a verb tries
LAST_SECONDS: Final = 0.1  # with less than this left nothing is tried: its failure would hide the true one
PAUSE_SECONDS: Final = (0.01, 0.2)  # between two attempts, growing
REPLICA_MILLISECONDS: Final = b"500"  # for how long a commit waits for a replica
GROUP_WRITES: Final = 256  # so that no script holds up everybody else for more than some milliseconds
QUEUE_COMMITS: Final = 10_000  # commits that may wait; more are refused, so that a slow store does not fill the memory
TENANTS: Final = b"mp:tenants"  # the set of all tenants


@dataclass(frozen=True, slots=True)
class _Shards:
    """Who keeps which slots; ``starts`` is None where one server keeps everything."""

    nodes: tuple[Node, ...]
    starts: tuple[int, ...] | None
    sharded: bool

    def node(self, key: bytes) -> Node:
        if self.starts is None:
            return self.nodes[0]
        return self.nodes[bisect_right(self.starts, key_slot(key)) - 1]


@dataclass(slots=True)
class _Commit:
    prepared: Prepared
    future: asyncio.Future[bytes]


class Client:
    """For one event loop of one process."""

    def __init__(self, address: Address, watch: Watch) -> None:
        self.loop = asyncio.get_running_loop()
        self._address = address
        self._watch = watch
        self._links: dict[tuple[Node, bool], Link] = {}
        self._shards: _Shards | None = None
        self._learning = asyncio.Lock()
        self._writer = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)
        self._queues: dict[str, deque[_Commit]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._busy = 0
        self._idle = asyncio.Event()

    # --- asking -------------------------------------------------------------------------------------------------

    async def run(
        self, name: Name, keys: Sequence[bytes], *arguments: bytes, write: bool = False, confirm: bool = False
    ) -> Any:
        """The answer of a script. Raises ``Unavailable`` where there is none within ``CALL_SECONDS``.

        ``confirm``: it writes, and so has to be kept as the durability says, together with all that was written before.
        """
        fresh = secrets.token_hex(8).encode()

        def commands(shards: _Shards) -> list[Command]:
            channel = b"" if shards.sharded else self._address.channel
            asked = (b"EVALSHA", HASHES[name], b"%d" % len(keys), *keys, fresh, channel, *arguments)
            return [asked, *self._confirmation] if confirm else [asked]

        answer, *confirmed = await self._persist(keys[0], commands, write=write or confirm)
        _see_confirmed(confirmed)
        return answer

    async def command(self, key: bytes, *command: bytes) -> Any:
        """The answer to a plain command about a key."""
        (answer,) = await self._persist(key, lambda _: [command], write=True)
        return answer

    async def shards(self) -> _Shards:
        """Who keeps what. Raises ``Unavailable``."""
        deadline = self.loop.time() + CALL_SECONDS
        try:
            return await self._learn(deadline)
        except Lost as error:
            raise away(str(error)) from error

    def forget(self) -> None:
        """Ask again who keeps what, since somebody did not answer; where one server keeps everything it still does."""
        if self._shards is not None and self._shards.starts is not None:
            self._shards = None

    async def ping(self) -> None:
        """Write a key on every primary, as durably as a commit, and look at its terms again. Raises ``Unavailable``."""
        shards = await self.shards()
        left = set(shards.nodes)
        for number in itertools.count():
            key = b"mp:{ping%d}" % number
            node = shards.node(key)
            if node in left:
                left.discard(node)
                await self.run("ping", [key], confirm=True)
                deadline = self.loop.time() + CALL_SECONDS
                try:
                    self._watch.look(
                        node, await self._link(node, write=True).try_ask(*Watch.QUESTIONS, deadline=deadline)
                    )
                except Lost as error:
                    raise away(str(error)) from error
            if not left:
                return

    async def _persist(self, key: bytes, commands: Callable[[_Shards], Sequence[Command]], *, write: bool) -> list[Any]:
        deadline = self.loop.time() + CALL_SECONDS
        pause = PAUSE_SECONDS[0]
        while True:
            try:
                shards = await self._learn(deadline)
                link = self._link(shards.node(key), write=write)
                return await link.ask(*commands(shards), deadline=deadline)
            except Lost as error:
                self.forget()
                if self.loop.time() + pause + LAST_SECONDS >= deadline:
                    raise away(str(error)) from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, PAUSE_SECONDS[1])

    def _link(self, node: Node, *, write: bool) -> Link:
        """Commits have a connection of their own, so that no large page stands in their way."""
        link = self._links.get((node, write))
        if link is None:
            link = self._links[node, write] = Link(self._address, node, self._watch)
        return link

    async def _learn(self, deadline: float) -> _Shards:
        if self._shards is None:
            async with self._learning:
                if self._shards is None:
                    self._shards = await self._ask_who(deadline)
        return self._shards

    async def _ask_who(self, deadline: float) -> _Shards:
        """Ask every server that was ever heard of, the one of the URL first."""
        nodes = dict.fromkeys([self._address.node, *(node for node, _ in self._links)])
        lost = Lost("no server is known")
        for node in nodes:
            until = min(deadline, self.loop.time() + (deadline - self.loop.time()) / 2) if len(nodes) > 1 else deadline
            link = self._link(node, write=False)
            try:
                (slots,) = await link.try_ask((b"CLUSTER", b"SLOTS"), deadline=until)
            except Lost as error:
                lost = error
                continue
            assert link.server is not None
            if not link.server.cluster:
                return _Shards((node,), None, sharded=False)
            if isinstance(slots, ResponseError):
                raise explain(slots)
            ranges = sorted((first, _named(primary, node)) for first, _, primary, *_ in slots)
            if not ranges:
                lost = Lost(f"the cluster of {node} keeps no slots")
                continue
            starts, owners = zip(*ranges, strict=True)
            return _Shards(owners, starts, sharded=link.server.version >= SHARDED)
        raise lost

    # --- committing ---------------------------------------------------------------------------------------------

    async def commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        """Store them with the next group of the tenant. Raises ``Conflict``, ``Invalid``, ``Unavailable``."""
        prepared = Prepared(writes)
        if self._waiting >= QUEUE_COMMITS:
            raise Unavailable(f"{QUEUE_COMMITS} commits are waiting for Redis", code="overloaded", retry_after=1.0)
        commit = _Commit(prepared, self.loop.create_future())
        self._waiting += 1
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = deque()
            task = self.loop.create_task(self._work(tenant, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        queue.append(commit)
        return prepared.stored(await commit.future)

    async def _work(self, tenant: str, queue: deque[_Commit]) -> None:
        """One group after the other, for as long as commits of the tenant wait: the script knows only the last one."""
        try:
            while queue:
                group, writes = [queue.popleft()], 0
                while queue and (writes := writes + len(group[-1].prepared.writes)) < GROUP_WRITES:
                    group.append(queue.popleft())
                self._waiting -= len(group)
                try:
                    lines = (await self._store(tenant, group)).split(b"\n")
                except Exception as error:  # noqa: BLE001 — a bug in one group must not leave its callers waiting
                    for commit in group:
                        if not commit.future.done():
                            commit.future.set_exception(away(str(error)) if isinstance(error, Unavailable) else error)
                    continue
                for commit, line in zip(group, lines, strict=True):
                    if not commit.future.done():
                        commit.future.set_result(line)
        finally:
            del self._queues[tenant]
            self._waiting -= len(queue)
            for commit in queue:  # only where the loop ends in the middle
                commit.future.cancel()

    async def _store(self, tenant: str, group: Sequence[_Commit]) -> bytes:
        key, name = root(tenant), tenant.encode()
        number = b"%d" % next(self._numbers)
        fresh, now = secrets.token_hex(8).encode(), repr(time.time()).encode()
        arguments = [argument for commit in group for argument in commit.prepared.arguments]

        def commands(shards: _Shards) -> list[Command]:
            channel = b"" if shards.sharded else self._address.channel
            store = (
                b"EVALSHA", HASHES["commit"], b"1", key, fresh, channel, name, now, self._writer, number, *arguments,
            )  # fmt: skip
            return [store, *self._confirmation]

        reply, *confirmed = await self._persist(key, commands, write=True)
        await self.hint(name)
        _see_confirmed(confirmed)
        if reply.startswith(b"1 ") or b"\n1 " in reply:
            await self.register([tenant])  # its history begins, perhaps again
        answer: bytes = reply
        return answer

    @property
    def _confirmation(self) -> list[Command]:
        """What goes behind a write, on its connection."""
        return [(b"WAIT", b"1", REPLICA_MILLISECONDS)] if self._watch.durability == "replicated" else []

    async def hint(self, name: bytes) -> None:
        """Where channels stay on one shard of a cluster, tell there that a tenant grew. A lost hint is only late."""
        shards = self._shards
        if shards is not None and shards.sharded:
            with contextlib.suppress(Unavailable):
                await self.command(CHANNEL, b"SPUBLISH", CHANNEL, name)

    async def register(self, tenants: Sequence[str]) -> None:
        """Put tenants into the set of all tenants."""
        await self.command(TENANTS, b"SADD", TENANTS, *(tenant.encode() for tenant in tenants))

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """What runs in this block is finished before the client closes."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    # --- ending -------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Finish what was begun, then let go of every connection."""
        while self._busy:
            self._idle.clear()
            await self._idle.wait()
        if self._tasks:  # of callers who were cancelled
            await asyncio.wait(self._tasks)
        for link in self._links.values():
            await link.close()


def _see_confirmed(replicas: Sequence[Any]) -> None:
    """By the answer to ``_confirmation``. Raises ``Unavailable``."""
    if replicas and replicas[0] < 1:
        raise away("no replica has confirmed what was written; it may be stored, or lost with this server")


def _named(primary: Sequence[Any], asked: Node) -> Node:
    """A node as the cluster names it; one without a name is the one that was asked."""
    host = (primary[0] or b"").decode()
    return Node(host if host not in {"", "?"} else asked.host, int(primary[1]))
