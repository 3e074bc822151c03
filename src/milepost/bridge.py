"""The bridge: what an existing worker publishes on Redis channels becomes jobs, and the worker is not touched.

A file says which channels, and how their JSON maps onto jobs (docs/bridge.md). Messages of one channel are applied in
their order; progress that waits behind other progress is replaced by it. What was published while nobody listened is
lost, as Redis has it, but for a state key, where the worker keeps one: it is read after every (re)connect.

One process of a host bridges a file, whichever has its lock; another one takes over where it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from milepost.errors import Conflict, Invalid, NotFound, Unavailable
from milepost.ledger import Ledger
from milepost.mapping import BridgeTable, Mapped, address, glob, names_in, read_file, understand
from milepost.model import Identity

_log = logging.getLogger("milepost.bridge")

JOBS: Final = 10_000  # whose messages may wait for the engine; beyond it those that wait longest are dropped
WAITING: Final = 100  # messages of one job that may, beside progress; the oldest goes first
PAUSE_SECONDS: Final = (0.1, 2.0)  # before connecting, or asking the engine, again; growing
SILENCE_SECONDS: Final = 5.0  # after which Redis is asked whether it is still there
LOCK_SECONDS: Final = 1.0  # how often a second process asks for the file's lock


def checked(path: str) -> tuple[BridgeTable, ...]:
    """The tables of a file. Raises ``Invalid`` where it is wrong, or the driver is missing."""
    tables = read_file(path)
    try:
        from redis.asyncio import Redis
    except ModuleNotFoundError as error:
        raise Invalid(f"a bridge needs {error.name}: pip install 'milepost[redis]'", field="bridge") from None
    for table in tables:
        try:
            Redis.from_url(address(table.url))
        except (TypeError, ValueError) as error:
            raise Invalid(f"{path}: {error}", field="bridge") from None
    return tables


async def apply(ledger: Ledger, mapped: Mapped) -> Literal["applied", "late"]:
    """Carry out what a message asks for. Raises ``Unavailable`` where the engine is away."""
    identity = Identity("bridge", mapped.tenant, scopes=frozenset({"produce:any"}))
    if mapped.verb == "start" and not mapped.from_state:
        await ledger.start_job(identity, mapped.start)
        return "applied"
    try:
        await _report(ledger, identity, mapped)
    except NotFound:  # its beginning was before ours
        await ledger.start_job(identity, mapped.start)
        await _report(ledger, identity, mapped)
    except Conflict as conflict:
        if conflict.code == "job_ended":
            return "late"
        raise
    return "applied"


async def _report(ledger: Ledger, identity: Identity, mapped: Mapped) -> None:
    end = mapped.complete or mapped.fail
    try:
        await ledger.advance(identity, mapped.job_id, mapped.advance)
    except Conflict:
        if end is None:  # the same end said twice is no error, and the ledger knows
            raise
    if end is not None:
        await ledger.end(identity, mapped.job_id, end)


class Bridge:
    """Follows the channels of a file for as long as it runs. Use within one event loop."""

    def __init__(self, path: str, ledger: Ledger) -> None:
        self.messages: dict[str, int] = dict.fromkeys(("applied", "ignored", "late", "malformed", "dropped"), 0)
        self._path = path
        self._tables = checked(path)
        self._ledger = ledger
        self._queues: dict[tuple[int, str], deque[Mapped]] = {}
        self._news = asyncio.Event()
        self._said: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        self._task = asyncio.create_task(self._run(), name="milepost-bridge")

    async def stop(self) -> None:
        """End it. What waits is given up: it was never acknowledged to anybody."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while not _locked(descriptor):  # noqa: ASYNC110 — another process holds it, and nobody tells when it ends
                await asyncio.sleep(LOCK_SECONDS)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work())
                for number in range(len(self._tables)):
                    tasks.create_task(self._follow(number))
        finally:
            os.close(descriptor)

    async def _follow(self, number: int) -> None:
        from redis.exceptions import RedisError

        pause, channel = PAUSE_SECONDS[0], self._tables[number].channel

        def back() -> None:
            nonlocal pause
            pause = PAUSE_SECONDS[0]
            _log.info("the bridge follows %s", channel)

        while True:
            try:
                await self._listen(number, back)
            except (RedisError, OSError, TimeoutError) as error:
                if pause == PAUSE_SECONDS[0]:
                    _log.warning("the bridge's Redis for %s is away: %s", channel, error)
            except Exception:  # noqa: BLE001 — a bug must not end the bridge while everything else goes on
                _log.exception("the bridge for %s broke, and begins again", channel)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, PAUSE_SECONDS[1])

    async def _listen(self, number: int, connected: Callable[[], None]) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        table = self._tables[number]
        once = Retry(NoBackoff(), 0)
        client = Redis.from_url(address(table.url), retry=once, socket_connect_timeout=5, socket_timeout=10, protocol=2)
        async with client, client.pubsub() as pubsub:
            await pubsub.psubscribe(glob(table.channel))
            await pubsub.get_message(timeout=SILENCE_SECONDS)  # the confirmation: from here on nothing is missed
            connected()
            if table.state is not None:
                await self._recover(number, table.state.key, client)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    if asked:
                        raise TimeoutError("it is silent")
                    await pubsub.ping()
                    asked = True
                    continue
                asked = False
                if message["type"] == "pmessage":
                    names = names_in(table.channel, message["channel"].decode(errors="replace"))
                    if names is not None:
                        self._take(number, names, message["data"])

    async def _recover(self, number: int, pattern: str, client: Any) -> None:
        """Read what the worker keeps: what it published before we listened."""
        from redis.exceptions import ResponseError

        async for key in client.scan_iter(match=glob(pattern), count=1000):
            names = names_in(pattern, key.decode(errors="replace"))
            try:
                data = await client.get(key)
            except ResponseError as error:  # it keeps something else than a text there
                self._malformed(number, error)
                continue
            if names is not None and data is not None:
                self._take(number, names, data, from_state=True)

    def _take(self, number: int, names: Mapping[str, str], data: bytes, *, from_state: bool = False) -> None:
        try:
            mapped = understand(self._tables[number], names, data, from_state=from_state)
        except Invalid as error:
            self._malformed(number, error)
            return
        if mapped is None:
            self.messages["ignored"] += 1
            return
        queue = self._queues.setdefault((number, f"{mapped.tenant} {mapped.job_id}"), deque())
        if queue and queue[-1].verb == mapped.verb == "advance":
            queue[-1] = queue[-1].then(mapped)
            self.messages["applied"] += 1
            return
        queue.append(mapped)
        if len(queue) > WAITING:
            queue.popleft()
            self.messages["dropped"] += 1
        if len(self._queues) > JOBS:
            self.messages["dropped"] += len(self._queues.pop(next(iter(self._queues))))
        self._news.set()

    def _malformed(self, number: int, error: Exception) -> None:
        """Count it; say it once for each kind of channel, without anything that was in it."""
        self.messages["malformed"] += 1
        if number not in self._said:
            self._said.add(number)
            channel = self._tables[number].channel
            _log.warning("a malformed message on %s: %s More of them are only counted.", channel, error)

    async def _work(self) -> None:
        pause = PAUSE_SECONDS[0]
        while True:
            while not self._queues:
                self._news.clear()
                await self._news.wait()
            name = next(iter(self._queues))
            queue = self._queues.pop(name)
            try:
                while queue:
                    outcome = await apply(self._ledger, queue[0])
                    queue.popleft()
                    self.messages[outcome] += 1
                    pause = PAUSE_SECONDS[0]
            except Unavailable:
                queue.extend(self._queues.pop(name, ()))
                self._queues[name] = queue
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, PAUSE_SECONDS[1])
            except Exception as error:  # noqa: BLE001 — one message must never end the bridge
                self._malformed(name[0], error)
                queue.popleft()
                if queue:
                    queue.extend(self._queues.pop(name, ()))
                    self._queues[name] = queue


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
