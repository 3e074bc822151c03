"""Hints of the SQLite engine: own commits at once, those of other processes by looking at the file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Container, Iterable
from typing import Any, Final

from milepost.engines.sqlite.file import DriverError, Handle, SqliteFile, explain
from milepost.engines.sqlite.reading import SQL

POLL_SECONDS: Final = 0.05  # a wake-up costs far more than the look itself, so an idle process has few
BUSY_POLL_SECONDS: Final = 0.02  # for a second after another process has committed
MANY_TENANTS: Final = 100  # beyond this a hint says "look at everything"


class Hints(AsyncIterator[str | None]):
    """The tenants that grew since it was opened, each once until it is taken; for one task of one event loop.

    ``PRAGMA data_version`` changes when another connection has committed, costs 3 µs, and reads no document.
    """

    def __init__(self, file: SqliteFile, own: Container[int]) -> None:
        self.loop = asyncio.get_running_loop()
        self._file = file
        self._own = own
        self._handle = Handle(file)
        self._pending: dict[str | None, None] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._version = -1
        self._group = 0
        self._connection: object = None
        self._busy_until = 0.0
        self._look()
        self._pending.clear()
        self._polled_at = time.monotonic()

    def hear(self, group: int, tenants: Iterable[str | None]) -> None:
        """See ``Listener.hear``."""
        self._add(tenants)

    def _add(self, tenants: Iterable[str | None]) -> None:
        for tenant in tenants:
            self._pending[tenant] = None
        if len(self._pending) > MANY_TENANTS:
            self._pending = {None: None}
        self._wake()

    async def __anext__(self) -> str | None:
        """The next tenant that grew. Raises ``Unavailable`` when the file is no longer there."""
        while True:
            now = time.monotonic()
            pause = BUSY_POLL_SECONDS if now < self._busy_until else POLL_SECONDS
            if now - self._polled_at >= pause:
                self._poll()
            if self._pending:
                tenant = next(iter(self._pending))
                del self._pending[tenant]
                return tenant
            self._waiter = self.loop.create_future()
            timer = self.loop.call_later(pause, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None

    def close(self) -> None:
        """Let go of the connection."""
        with self._handle.lock:
            self._handle.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _poll(self) -> None:
        self._polled_at = time.monotonic()
        self._file.look()
        try:
            self._look()
        except DriverError as error:
            raise explain(error) from error

    def _look(self) -> None:
        """Read the version before the data: a commit in between is then seen again, never missed."""
        with self._handle.lock:
            connection = self._handle.connection
            version = connection.pragma("data_version")
            if version == self._version and connection is self._connection:
                return
            self._version, self._connection = version, connection
            state: list[Any] = connection.execute(SQL["file"]).fetchall()
            rows: Iterable[Any] = connection.execute(SQL["grown"], (self._group,))
            others = [name for name, group in rows if group not in self._own]
        _, _, last, renewed = state[0]
        if others:
            self._busy_until = time.monotonic() + 1.0
        self._add((None,) if renewed > self._group else others)
        self._group = max(last, self._group)
