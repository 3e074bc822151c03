"""Hints of the Redis engine: a subscription that comes back by itself, and says "look at everything" when it does.

Nothing that is published while a connection is down is kept, and nothing tells a subscriber that it missed some.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Final

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from milepost.engines.redis.address import CHANNEL, Address, away
from milepost.engines.redis.client import Client

OPEN_SECONDS: Final = 1.8
SILENCE_SECONDS: Final = 2.0  # after which the other end is asked whether it is still there
PAUSE_SECONDS: Final = (0.05, 1.0)  # before connecting again, growing
MANY_TENANTS: Final = 100  # beyond this a hint says "look at everything"


class Hints(AsyncIterator[str | None]):
    """The tenants that grew since it was opened, each once until it is taken; for one task of one event loop."""

    def __init__(self, address: Address, client: Client) -> None:
        self._address = address
        self._client = client
        self._connection: Connection | None = None
        self._pending: dict[str | None, None] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return when what is published from now on is heard. Raises ``Unavailable``."""
        try:
            await self._subscribe()
        except BaseException:
            await self._drop()
            raise
        self._task = asyncio.create_task(self._listen(), name="milepost-redis-hints")

    async def __anext__(self) -> str | None:
        """The next tenant that grew."""
        while not self._pending:
            self._news.clear()
            await self._news.wait()
        tenant = next(iter(self._pending))
        del self._pending[tenant]
        return tenant

    async def close(self) -> None:
        """Let go of the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._drop()  # a task that was never begun has done nothing at its end

    def _add(self, tenant: str | None) -> None:
        self._pending[tenant] = None
        if len(self._pending) > MANY_TENANTS:
            self._pending = {None: None}
        self._news.set()

    async def _subscribe(self) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                shards = await self._client.shards()
                connection = self._connection = self._address.connection(shards.node(CHANNEL))
                await connection.connect()  # type: ignore[no-untyped-call]
                verb, channel = (b"SSUBSCRIBE", CHANNEL) if shards.sharded else (b"SUBSCRIBE", self._address.channel)
                await connection.send_command(verb, channel, check_health=False)
                await connection.read_response()
        except (RedisError, OSError, TimeoutError) as error:
            raise away(f"Redis takes no subscription: {str(error) or 'no answer in time'}") from error

    async def _listen(self) -> None:
        pause = PAUSE_SECONDS[0]
        try:
            while True:
                try:
                    if self._connection is None:
                        await self._subscribe()
                        self._add(None)
                        pause = PAUSE_SECONDS[0]
                    await self._hear()
                except Exception:  # noqa: BLE001 — uvloop says RuntimeError of a connection that is gone, for one
                    if self._connection is not None:
                        self._add(None)  # who looks now learns that the store is away, and can say so to its readers
                    await self._drop()
                    self._client.forget()
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(pause * 2, PAUSE_SECONDS[1])
        finally:
            await self._drop()

    async def _hear(self) -> None:
        """Take messages until the connection ends; raises how it did."""
        connection = self._connection
        assert connection is not None
        asked = False
        while True:
            message = await connection.read_response(timeout=SILENCE_SECONDS)
            if message is None:
                if asked:
                    raise ConnectionError("the subscription is silent")
                await connection.send_command(b"PING", check_health=False)
                asked = True
                continue
            asked = False
            kind = message[0]
            if kind in {b"message", b"smessage"}:
                self._add(message[2].decode())
            elif kind == b"sunsubscribe":
                raise ConnectionError("the channel has moved")

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RedisError, OSError, RuntimeError):
                await connection.disconnect(nowait=True)
