"""One connection to one Redis server. What is asked at the same time goes out together and comes back together.

Nothing is retried here: a round that breaks raises ``Lost`` in all who were part of it, and they know whether they may
ask again. No caller ever reads from the connection, so one that is cancelled leaves no reply behind for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from milepost.engines.redis.address import Address, Node, away
from milepost.engines.redis.scripts import HASHES, TEXTS
from milepost.engines.redis.terms import Server, Watch
from milepost.errors import Unavailable

SILENCE_SECONDS: Final = 0.8  # without any reply, after which a connection is given up
ROUND: Final = 512  # questions in a round at most, so that a long queue does not become one long wait

Command = Sequence[bytes]

# The question was not carried out, or may be asked again, and another connection or another node may answer it.
_ELSEWHERE = (
    AskError,  # and MovedError
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    TryAgainError,
)


class Lost(Exception):
    """No answer came, or one that sends elsewhere; whether the question was carried out is unknown."""


def explain(error: ResponseError) -> Unavailable | Lost:
    """What an error reply means to who asked."""
    if isinstance(error, _ELSEWHERE) or str(error).startswith(("BUSY", "LATE")):
        return Lost(f"Redis says {error}")
    return away(f"Redis refuses: {error}")


@dataclass(slots=True)
class _Asked:
    commands: Sequence[Command]
    future: asyncio.Future[list[Any]]


class Link:
    """For one event loop. ``server`` says what is at the other end, once it was reached."""

    def __init__(self, address: Address, node: Node, watch: Watch) -> None:
        self.node = node
        self.server: Server | None = None
        self._address = address
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._stale = False  # it has said that another connection, or another node, is to be asked
        self._waiting: list[_Asked] = []
        self._wake = asyncio.Event()
        self._task = self._loop.create_task(self._work(), name=f"milepost-redis-{node}")

    async def ask(self, *commands: Command, deadline: float) -> list[Any]:
        """The replies to commands that are sent in one go. Raises ``Lost``, or ``Unavailable`` where it is hopeless.

        ``deadline`` is a time of the loop's clock.
        """
        replies = await self.try_ask(*commands, deadline=deadline)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise explain(reply)
        return replies

    async def try_ask(self, *commands: Command, deadline: float) -> list[Any]:
        """As ``ask``, but an error reply is handed back and not raised."""
        if self._task.done():
            raise Lost("the connection was closed")
        asked = _Asked(commands, self._loop.create_future())
        self._waiting.append(asked)
        self._wake.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await asked.future
        except TimeoutError:  # the round goes on for the others
            raise Lost(f"Redis at {self.node} does not answer: no answer in time") from None

    async def close(self) -> None:
        """Let go of the connection."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _work(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    batch, self._waiting = self._waiting[:ROUND], self._waiting[ROUND:]
                    await self._round([asked for asked in batch if not asked.future.done()])
        finally:
            await self._drop()
            _fail(self._waiting, Lost("the connection was closed"))

    async def _round(self, batch: list[_Asked]) -> None:
        if not batch:
            return
        try:
            # Not one limit for all of it: what is slow and goes on would be begun again and again, and never end.
            async with asyncio.timeout(SILENCE_SECONDS) as silence:
                if self._connection is None:
                    await self._open()
                    self._heard(silence)
                await self._send([command for asked in batch for command in asked.commands])
                for asked in batch:
                    replies = []
                    for _ in asked.commands:
                        replies.append(await self._reply())
                        self._heard(silence)
                    if not asked.future.done():
                        asked.future.set_result(replies)
        except Unavailable as error:
            await self._drop()
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 — uvloop says RuntimeError of a connection that is gone, for one
            await self._drop()
            said = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            _fail(batch, Lost(f"Redis at {self.node} does not answer: {said}"))
        except BaseException:
            await self._drop()
            _fail(batch, Lost("the connection was closed"))
            raise
        if self._stale:
            await self._drop()  # a new one looks again at who is there, and brings the scripts along

    def _heard(self, silence: asyncio.Timeout) -> None:
        silence.reschedule(self._loop.time() + SILENCE_SECONDS)

    async def _send(self, commands: Sequence[Command]) -> None:
        assert self._connection is not None
        await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    async def _reply(self) -> Any:
        assert self._connection is not None
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            self._stale = self._stale or isinstance(error, _ELSEWHERE)
            return error

    async def _talk(self, commands: Sequence[Command]) -> list[Any]:
        await self._send(commands)
        return [await self._reply() for _ in commands]

    async def _open(self) -> None:
        """Connect, look who is there, and bring the scripts along."""
        connection = self._connection = self._address.connection(self.node)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except AuthenticationError as error:
            raise away(f"Redis at {self.node} does not let us in: {error}") from error
        replies = await self._talk([*Watch.QUESTIONS, (b"SCRIPT", b"EXISTS", *HASHES.values())])
        if isinstance(replies[-1], NoPermissionError):
            raise away(f"Redis at {self.node} does not let us run scripts: {replies[-1]}")
        self.server = self._watch.look(self.node, replies[:-1])
        if not self.server.primary:
            raise ConnectionError(f"{self.node} is a replica")
        missing = [text for text, there in zip(TEXTS.values(), replies[-1], strict=True) if not there]
        for reply in await self._talk([(b"SCRIPT", b"LOAD", text) for text in missing]):
            if isinstance(reply, ResponseError):
                raise away(f"Redis at {self.node} does not take our scripts: {reply}")

    async def _drop(self) -> None:
        connection, self._connection, self._stale = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(RedisError, OSError, RuntimeError):
                await connection.disconnect(nowait=True)


def _fail(batch: Sequence[_Asked], error: Exception) -> None:
    for asked in batch:
        if not asked.future.done():
            asked.future.set_exception(type(error)(*error.args) if isinstance(error, Lost) else away(str(error)))
