"""An engine whose every read waits until a test lets it go, and whose hints come when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from milepost.engine import Engine

T = TypeVar("T")


class Gated:
    """The engine as the hub has it: each read waits for its turn, then for its answer to be let through.

    ``asking`` counts those that are with the engine just now: not in the machine's hand.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.open = False
        self.asking = 0
        self.waiting: list[asyncio.Future[None]] = []
        self.hint_queues: list[asyncio.Queue[str | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def _turn(self) -> None:
        if not self.open:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate

    async def _ask(self, question: Awaitable[T]) -> T:
        self.asking += 1
        try:
            return await question
        finally:
            self.asking -= 1

    async def changes(self, *args: Any, **named: Any) -> Any:
        """See ``Engine.changes``."""
        await self._turn()
        pages = {**named, "limit": 4}  # so that a resume has several
        answer = await self._ask(self._engine.changes(*args, **pages))
        await self._turn()
        return answer

    async def count(self, *args: Any) -> Any:
        """See ``Engine.count``."""
        await self._turn()
        return await self._ask(self._engine.count(*args))

    async def get(self, *args: Any) -> Any:
        """See ``Engine.get``."""
        await self._turn()
        return await self._ask(self._engine.get(*args))

    async def heads(self, *args: Any) -> Any:
        """See ``Engine.heads``."""
        await self._turn()
        return await self._ask(self._engine.heads(*args))

    @contextlib.asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str | None]]:
        """Hints come when the machine says so."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.hint_queues.append(queue)

        async def told() -> AsyncIterator[str | None]:
            while True:
                yield await queue.get()

        yield told()

    def hint(self, tenant: str | None) -> None:
        """Deliver one."""
        for queue in self.hint_queues:
            queue.put_nowait(tenant)

    def release(self, number: int) -> None:
        """Let one read go on."""
        gates = [gate for gate in self.waiting if not gate.done()]
        if gates:
            gates[number % len(gates)].set_result(None)
        self.waiting = [gate for gate in gates if not gate.done()]

    def release_all(self) -> None:
        """Let all go on, now and from now on."""
        self.open = True
        for gate in self.waiting:
            if not gate.done():
                gate.set_result(None)
        self.waiting.clear()
