"""Sessions with the database, each call bounded in time: the one place that knows the driver's connections.

A call that takes too long, or whose caller went away, has its socket shut down. The driver's own way, asking the server
to cancel, would wait for a server that does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper

from milepost.engines import statements
from milepost.errors import Invalid, Unavailable

VERSION: Final = 1
OLDEST: Final = 130000  # PostgreSQL 13
CALL_SECONDS: Final = 1.8  # within which every call ends, the wait for a free session and for the server included
CONNECT_SECONDS: Final = 1.5
AWAY_SECONDS: Final = (0.1, 0.3)  # after a refused connection nobody tries again for a time between these
TELL_SECONDS: Final = 5.0
SESSIONS: Final = 8  # that read at once, per event loop; reads beyond that wait in turn

# What each session runs with. The server ends what we no longer wait for: above all a transaction that holds a tenant's
# head while its process is stopped. Plans are made for the statements as they are written, not for sizes of today.
_OPTIONS: Final = {
    "statement_timeout": "1800",
    "idle_in_transaction_session_timeout": "2000",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    "jit": "off",
    "client_encoding": "UTF8",
}

Result = TypeVar("Result")
log = logging.getLogger("milepost.postgres")


class _Told:
    """When the log last heard of an error: while the server is away each call would have one to tell."""

    at = float("-inf")


_told = _Told()


def _load() -> dict[str, str]:
    texts = dict(statements.load("milepost.engines.postgres", "statements.sql"))
    parts = {f"<{name}>": texts.pop(name) for name in ("at", "document", "covered")}
    for mark, part in parts.items():
        texts = {name: text.replace(mark, part) for name, text in texts.items()}
    return texts


SQL: Final = _load()
SCHEMA: Final = statements.load("milepost.engines.postgres", "schema.sql")


def away(message: str) -> Unavailable:
    """The one error that leaves this engine when the database does not answer."""
    return Unavailable(message, code="engine_away", retry_after=1.0)


def explain(error: Exception) -> Unavailable:
    """A driver's error in the words of Milepost. What the server said goes into the log: it names hosts and users."""
    if isinstance(error, Unavailable):
        return error
    now = time.monotonic()
    if now - _told.at >= TELL_SECONDS:
        _told.at = now
        log.warning("PostgreSQL: %s", str(error).strip() or type(error).__name__)
    state = getattr(error, "sqlstate", None)
    return away(f"PostgreSQL does not answer ({state})" if state else "PostgreSQL does not answer")


class Session:
    """One connection. Not for two tasks at once; whoever gets an error from it closes it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection
        self.pid = connection.info.backend_pid
        self._cursor = connection.cursor(binary=True)
        self._socket = connection.fileno()
        self._is_left = False
        self._work: asyncio.Future[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be used as far as this side knows."""
        return not self._is_left and not self.connection.closed

    async def rows(self, name: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a named statement and return its rows."""
        cursor = await self._cursor.execute(SQL[name].encode(), values or None, prepare=True)
        return await cursor.fetchall() if cursor.description is not None else []

    async def run(self, *todo: tuple[str, dict[str, Any]]) -> list[list[tuple[Any, ...]]]:
        """Run named statements (or BEGIN, COMMIT) one after the other, in one round trip; the rows of each."""
        cursors = []
        async with self.connection.pipeline():
            for name, values in todo:
                cursor = self.connection.cursor(binary=True)
                await cursor.execute(SQL.get(name, name).encode(), values or None, prepare=True)
                cursors.append(cursor)
        out = []
        for (name, _), cursor in zip(todo, cursors, strict=True):
            if name == "COMMIT" and cursor.statusmessage != "COMMIT":
                raise psycopg.OperationalError("the transaction was rolled back")
            out.append(await cursor.fetchall() if cursor.description is not None else [])
        return out

    async def use(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work. Where it fails, or its caller is cancelled, the session is closed.

        Raises ``Lost`` where the connection ended, any other error of the driver as it is.
        """
        task = self._work = asyncio.ensure_future(work)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.close()
            raise
        except Exception as error:
            lost = self.connection.pgconn.status != pq.ConnStatus.OK
            self.close()
            if lost:  # whatever the driver made of it
                raise Lost(str(error).strip()) from error
            raise

    def cut(self) -> None:
        """End the connection under whoever waits for it."""
        if self.connection.closed:
            return  # the number of its socket may be another one's by now
        with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._socket)) as double:
            double.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it, at once and from any thread. Work that is under way finds out, and ends.

        Until then the driver reads and writes the connection's memory, which must not be freed under it: that would be
        a crash, or a lock that nobody ever opens, of the whole process.
        """
        self._is_left = True
        work = self._work
        if work is not None and not work.done() and not work.get_loop().is_closed():
            self.cut()
            if not work.done():
                return
        self.connection.pgconn.finish()

    def _done(self, task: asyncio.Future[Any]) -> None:
        if self._is_left:
            if not task.cancelled():
                task.exception()  # perhaps nobody else asks for it
            self.connection.pgconn.finish()


class Lost(psycopg.OperationalError):
    """The connection ended."""


class Server:
    """Where the database is: makes sessions, and brings the store to its present version when it first can.

    Raises ``Invalid`` for a URL that libpq does not understand.
    """

    def __init__(self, url: str) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise Invalid(f"not a PostgreSQL URL: {str(error).strip()}", field="engine") from None
        options = [str(given.get("options") or ""), *(f"-c {name}={value}" for name, value in _OPTIONS.items())]
        self._parameters: dict[str, Any] = {
            "application_name": "milepost",
            "target_session_attrs": "read-write",  # only a primary is read
            "connect_timeout": "2",
            "keepalives_idle": "5",
            "keepalives_interval": "2",
            "keepalives_count": "2",
            "tcp_user_timeout": "4000",
            **given,
            "options": " ".join(options).strip(),
        }
        self.closed = False
        self.is_ready = False  # whether the store has its present version
        self._refused_until = 0.0

    async def connect(self) -> Session:
        """A new session. Raises ``Unavailable``."""
        loop = asyncio.get_running_loop()
        if self.closed:
            raise away("the engine is closed")
        if loop.time() < self._refused_until:
            raise away("PostgreSQL refused a connection a moment ago")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                try:
                    connection = await self._connection()
                except (psycopg.Error, OSError):  # one that was cut while it was made says nothing of the next
                    connection = await self._connection()
        except (psycopg.Error, TimeoutError, OSError) as error:
            self._refused_until = loop.time() + random.uniform(*AWAY_SECONDS)
            raise explain(error) from error
        connection.adapters.register_dumper(int, Int8BinaryDumper)  # by size it would be many statements
        connection.adapters.register_dumper(str, StrBinaryDumper)
        session = Session(connection)
        try:
            await session.use(self._prepare(session))
        except psycopg.Error as error:
            raise explain(error) from error
        return session

    async def _connection(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(autocommit=True, **self._parameters)

    async def _prepare(self, session: Session) -> None:
        ((there, server, encoding, synchronous, unsafe),) = await session.rows("version")
        if server < OLDEST or encoding != "UTF8":
            raise away(
                f"PostgreSQL 13 or newer with the encoding UTF8 is needed, not {server // 10000} with {encoding}"
            )
        if synchronous == "off":
            await session.connection.execute("SET synchronous_commit = on")  # or what is acknowledged may be lost
        if self.is_ready:
            return
        if unsafe:
            log.warning("PostgreSQL runs with %s: what is acknowledged may be lost with the machine", unsafe)
        version = (await session.rows("store_version"))[0][0] if there else 0
        if version < VERSION:
            await self._migrate(session)
        elif version > VERSION:
            raise away(f"the store was written by a newer Milepost (version {version})")
        self.is_ready = True

    async def _migrate(self, session: Session) -> None:
        await session.run(("BEGIN", {}), ("migrate_alone", {}))
        there = (await session.rows("version"))[0][0]  # somebody else may have been first
        rows = await session.rows("store_version") if there else []
        version = rows[0][0] if rows else 0
        if not there:
            for step in range(version, VERSION):
                await session.connection.execute(SCHEMA[f"schema_{step + 1}"].encode())
        await session.run(("add_store", {"version": VERSION, "secret": secrets.token_hex(16)}), ("COMMIT", {}))


class Pool:
    """The sessions of one event loop that read, and that write what is no commit."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: list[Session] = []
        self._turns = asyncio.Semaphore(SESSIONS)

    async def do(self, work: Callable[[Session], Coroutine[Any, Any, Result]]) -> Result:
        """The work's result. A session that turns out to be broken is replaced once, so work twice done is harmless.

        Raises ``Unavailable``.
        """
        async with in_time(), self._turns:
            while self._idle:
                try:
                    return await self._with(self._idle.pop(), work)
                except Lost as error:
                    log.info("a session was lost: %s", error)
                    self.close()  # the others are as old
            return await self._with(await self._server.connect(), work)

    async def _with(self, session: Session, work: Callable[[Session], Coroutine[Any, Any, Result]]) -> Result:
        result = await session.use(work(session))
        if self._server.closed:
            session.close()
        else:
            self._idle.append(session)
        return result

    def close(self) -> None:
        """Let go of every session."""
        while self._idle:
            self._idle.pop().close()


@contextlib.asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """What is within ends within ``CALL_SECONDS``, and raises nothing of the driver's."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except TimeoutError:
        raise away(f"PostgreSQL has not answered for {CALL_SECONDS:g} s") from None
    except psycopg.Error as error:
        raise explain(error) from error
