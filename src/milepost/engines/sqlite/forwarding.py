"""One process of a server writes for all: the others forward what they would write over a socket, and read themselves.

SQLite lets one connection write at a time. Where several processes wait in turn for that, each syncs the disk for its
own commits only; here the commits of all processes that wait together share one group, as those of one process do.

What is forwarded is a call of ``Group``, with a number; answers come back in any order, errors as they are. A call that
was not sent waits up to ``AWAY_SECONDS`` for the process that writes, which is replaced where it died. When one that
was sent gets no answer, nobody knows what became of it, and ``Unavailable`` says so. Both ends are processes of one
server, of one version: the folder of the socket is open to nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from milepost.engine import Document, Write
from milepost.engines.sqlite import SqliteEngine
from milepost.engines.sqlite.file import SqliteFile, away
from milepost.engines.sqlite.group import Group
from milepost.engines.sqlite.writer import QUEUE_TASKS, Writer
from milepost.errors import MilepostError, Unavailable, from_code

START_SECONDS: Final = 30.0  # for how long the first call waits for the process that writes
AWAY_SECONDS: Final = 2.0  # and any later one
RETRY_SECONDS: Final = 0.02
ANSWER_SECONDS: Final = 10.0  # twice what a writer waits for other processes; who is silent for longer hangs
LEAVE_SECONDS: Final = 0.05  # how often it is looked whether the others have left
MAX_UNSENT: Final = 1024 * 1024  # bytes of hints and answers that wait for a process; then hints become one

VERBS: Final = frozenset({"commit", "touch", "draw_epoch", "renew_epoch", "prune", "probe"})
HINT: Final = 0  # calls are numbered from 1

Result = TypeVar("Result")

_length = struct.Struct("<I")
_fields = attrgetter(*Write.__dataclass_fields__)


def _packed(message: tuple[Any, ...]) -> bytes:
    data = marshal.dumps(message)
    return _length.pack(len(data)) + data


class _Frames(asyncio.Protocol):
    """Either end of a connection: whole messages in, whole messages out."""

    def __init__(self) -> None:
        self._rest = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=MAX_UNSENT)

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete."""
        data = self._rest + data if self._rest else data
        at = 0
        while len(data) - at >= _length.size:
            end = at + _length.size + _length.unpack_from(data, at)[0]
            if end > len(data):
                break
            self.message(*marshal.loads(data[at + _length.size : end]))  # noqa: S302 - our own sibling wrote it
            at = end
        self._rest = data[at:]

    def message(self, *parts: Any) -> None:
        """What came."""
        raise NotImplementedError


# --- the process that writes -------------------------------------------------------------------------------------


class AppointedEngine(SqliteEngine):
    """The engine of the process that writes. ``receive`` begins to do so for the others."""

    def __init__(self, path: str, socket: Path, *, patience: float) -> None:
        super().__init__(path)
        self._socket = socket
        self._patience = patience
        self._others: set[_Served] = set()
        self._server: asyncio.Server | None = None

    async def receive(self) -> None:
        """Carry out what other processes forward, on this loop. A socket that a process before left is replaced."""
        self._socket.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Served(self.writer, self._others), self._socket)
        self._socket.chmod(0o600)

    async def close(self) -> None:
        """See ``Engine.close``. Waits up to ``patience`` seconds for the others, who may have something to store."""
        server, self._server = self._server, None
        if server is not None:
            until = time.monotonic() + self._patience
            while self._others and time.monotonic() < until:  # noqa: ASYNC110 - nothing is left to do meanwhile
                await asyncio.sleep(LEAVE_SECONDS)
            server.close()
            for other in list(self._others):
                other.transport.abort()
            self._socket.unlink(missing_ok=True)
        await super().close()


class _Served(_Frames):
    """One of the others, as the process that writes sees it. It is a listener of the writer, for its hints."""

    def __init__(self, writer: Writer, others: set[_Served]) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self._writer = writer
        self._others = others
        self._is_slow = self._missed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        super().connection_made(transport)
        self._others.add(self)
        self._writer.listeners.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Somebody left; what it asked for is carried out."""
        self._others.discard(self)
        self._writer.listeners.remove(self)

    def pause_writing(self) -> None:
        """It does not read: keep no hints for it. Its answers are as many as its calls, which it bounds."""
        self._is_slow = True

    def resume_writing(self) -> None:
        """It reads again: one hint for all."""
        self._is_slow = False
        if self._missed:
            self._missed = False
            self.transport.write(_packed((HINT, 0, (None,))))

    def message(self, *parts: Any) -> None:
        """A call."""
        number, verb, values, writes = parts
        try:
            future = self._writer.submit(_call(verb, values), writes)
        except MilepostError as error:
            self.transport.write(_packed(_refusal(number, error)))
            return
        future.add_done_callback(lambda done: self._answer(number, done))

    def hear(self, group: int, tenants: Iterable[str | None]) -> None:
        """A group was stored."""
        if self._is_slow:
            self._missed = True
        else:
            self.transport.write(_packed((HINT, group, tuple(tenants))))

    def _answer(self, number: int, done: asyncio.Future[Any]) -> None:
        if self.transport.is_closing() or done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self.transport.write(_packed(_refusal(number, error)))
            return
        answer = done.result()
        if isinstance(answer, list):
            answer = [tuple(document) for document in answer]
        self.transport.write(_packed((number, answer)))


def _call(verb: str, values: tuple[Any, ...]) -> Callable[[Group], Any]:
    assert verb in VERBS, verb
    if verb == "commit":
        tenant, writes = values
        values = (tenant, [Write(*fields) for fields in writes])
    return lambda group: getattr(group, verb)(*values)


def _refusal(number: int, error: BaseException) -> tuple[Any, ...]:
    if isinstance(error, MilepostError):
        return number, None, error.code, error.message, error.retry_after, error.details
    return number, None, None, f"{type(error).__name__}: {error}", None, {}


# --- the others --------------------------------------------------------------------------------------------------


class ForwardingEngine(SqliteEngine):
    """The engine of a process that only reads the file itself."""

    def __init__(self, path: str, socket: Path) -> None:
        super().__init__(path)
        self.writer = Forwarder(self.file, socket)


class _Note:
    """Stands in for a group and writes down what would be done to it."""

    def __getattr__(self, verb: str) -> Callable[..., tuple[str, tuple[Any, ...]]]:
        return lambda *values: (verb, values)


class Forwarder(Writer):
    """In the place of a writer: has each task done elsewhere. A task is one call of its group, and nothing else.

    Holds one connection for each event loop that it is used from.
    """

    def __init__(self, file: SqliteFile, socket: Path) -> None:
        self._socket = socket
        self._patience = START_SECONDS
        super().__init__(file)

    async def do(self, run: Callable[[Group], Result], writes: int = 1) -> Result:
        """See ``Writer.do``. Raises what the task raises there."""
        if self._closed:
            raise away("the engine is closed")
        if self._pid != os.getpid():
            self._begin()
        verb, values = cast("tuple[str, tuple[Any, ...]]", run(cast("Group", _Note())))
        if verb == "commit":
            tenant, commit = values
            values = (tenant, [_fields(write) for write in commit])
        answer: Any = await (await self._connected()).ask(verb, values, writes)
        if verb == "commit":
            answer = list(map(Document._make, answer))
        return cast("Result", answer)

    def close(self) -> None:
        """Wait for the answers that are to come, then leave. Not on the thread of a loop that waits for one."""
        self._closed = True
        if self._pid == os.getpid():
            for loop, line in list(self._lines.items()):
                if loop.is_running():
                    with contextlib.suppress(RuntimeError):  # closed just now
                        loop.call_soon_threadsafe(line.leave)
                        line.left.wait(ANSWER_SECONDS)

    def heard(self, group: int, tenants: tuple[str | None, ...]) -> None:
        """The process that writes has stored a group."""
        if group in self.own:  # another connection of this process was told as well
            return
        if group:
            self.remember(group)
        here = asyncio.get_running_loop()
        for listener in list(self.listeners):
            if listener.loop is here:
                listener.hear(group, tenants)
            else:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    listener.loop.call_soon_threadsafe(listener.hear, group, tenants)

    def lost(self, line: _Line) -> None:
        """A connection ended; the next call opens another one."""
        if self._lines.get(line.loop) is line:
            del self._lines[line.loop]

    def _begin(self) -> None:
        super()._begin()
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}
        self._attempts: dict[asyncio.AbstractEventLoop, asyncio.Task[_Line | None]] = {}

    async def _connected(self) -> _Line:
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            attempt = self._attempts.get(loop)
            if attempt is None:  # one for all that wait
                attempt = self._attempts[loop] = loop.create_task(self._connect(loop), name="milepost-forwarding")
                attempt.add_done_callback(lambda _: self._attempts.pop(loop, None))
            line = await asyncio.shield(attempt)
        if line is None:
            raise away("the process that writes is away; nothing was stored")
        return line

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> _Line | None:
        until = time.monotonic() + self._patience
        while not self._closed:
            with contextlib.suppress(OSError):
                _, line = await loop.create_unix_connection(lambda: _Line(self), str(self._socket))
                self._patience = AWAY_SECONDS
                if not line.transport.is_closing():
                    self._lines[loop] = line
                    return line
            if time.monotonic() > until:
                break
            await asyncio.sleep(RETRY_SECONDS)
        return None


class _Line(_Frames):
    """A connection to the process that writes, and who waits for its answers."""

    def __init__(self, forwarder: Forwarder) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self._forwarder = forwarder
        self._number = HINT
        self._waiting: dict[int, tuple[asyncio.Future[Any], float]] = {}  # and when they began, oldest first
        self._watch: asyncio.TimerHandle | None = None
        self._leaving = False
        self.left = threading.Event()
        self._staying = self.loop.create_task(self._stay(), name="milepost-forwarding")

    def leave(self) -> None:
        """Close when nobody waits any more."""
        self._leaving = True
        if not self._waiting:
            self.transport.close()

    def ask(self, verb: str, values: tuple[Any, ...], writes: int) -> asyncio.Future[Any]:
        """The answer to come. Raises ``Unavailable`` where too many wait already."""
        if len(self._waiting) >= QUEUE_TASKS:
            raise Unavailable(f"{QUEUE_TASKS} commits are waiting for the disk", code="overloaded", retry_after=1.0)
        self._number += 1
        future = self.loop.create_future()
        self._waiting[self._number] = future, self.loop.time()
        if self._watch is None:
            self._watch = self.loop.call_later(ANSWER_SECONDS, self._look)
        self.transport.write(_packed((self._number, verb, values, writes)))
        return future

    def message(self, *parts: Any) -> None:
        """An answer, a refusal, or a hint."""
        number, *rest = parts
        if number == HINT:
            self._forwarder.heard(*rest)
            return
        future, _ = self._waiting.pop(number)
        if self._leaving:
            self.leave()
        if future.done():  # its caller was cancelled
            return
        if len(rest) == 1:
            future.set_result(rest[0])
        else:
            future.set_exception(_error(*rest[1:]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody knows what became of what was asked."""
        self._forwarder.lost(self)
        self.left.set()
        self._staying.cancel()
        if self._watch is not None:
            self._watch.cancel()
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(away("the process that writes went away; what was sent may or may not be stored"))

    async def _stay(self) -> None:
        """Until the loop ends, which cancels what runs: a connection that nobody closed would be reported then."""
        try:
            await self.loop.create_future()
        finally:
            self.transport.close()

    def _look(self) -> None:
        """Give up a connection whose other end hangs."""
        self._watch = None
        for _, since in self._waiting.values():
            left = since + ANSWER_SECONDS - self.loop.time()
            if left <= 0:
                self.transport.abort()
            else:
                self._watch = self.loop.call_later(left, self._look)
            break


def _error(code: str | None, message: str, retry_after: float | None, details: Mapping[str, Any]) -> Exception:
    if code is None:  # a bug there is one here
        return RuntimeError(message)
    return from_code(code, message, retry_after=retry_after, **details)
