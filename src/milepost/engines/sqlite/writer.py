"""The one thread that writes. Commits that wait together share a transaction and its fsync, each with its own fate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from milepost.engines.sqlite.file import WRITERS_CACHE, DriverError, Handle, SqliteFile, away, explain, is_fatal
from milepost.engines.sqlite.group import Group
from milepost.errors import MilepostError, Unavailable

GROUP_WRITES: Final = 256
GROUP_SECONDS: Final = 0.004
QUEUE_TASKS: Final = 10_000  # commits that may wait; more are refused, so that a slow disk does not fill the memory
OWN_GROUPS: Final = 4096  # many more than there can be between two looks at the file

Result = TypeVar("Result")


@dataclass(slots=True)
class _Task:
    run: Callable[[Group], Any]
    writes: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    answer: Any = None
    error: BaseException | None = None


class Listener(Protocol):
    """Who is told of each group."""

    loop: asyncio.AbstractEventLoop

    def hear(self, group: int, tenants: Iterable[str | None]) -> None:
        """This group was stored, and these tenants grew by it (None: perhaps all); on the loop's own thread."""
        ...


class Writer:
    """Runs tasks in groups. Each group is one transaction; a task that raises a ``MilepostError`` changes nothing.

    ``own`` remembers the numbers of the last groups, so that hints can tell them from those of other processes.
    """

    def __init__(self, file: SqliteFile) -> None:
        self.listeners: list[Listener] = []
        self.own: dict[int, None] = {}
        self._file = file
        self._closed = False
        self._dead: str | None = None
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._begin()

    @property
    def waiting(self) -> int:
        """How many tasks wait for the group after this one."""
        return self._queue.qsize()

    async def do(self, run: Callable[[Group], Result], writes: int = 1) -> Result:
        """Run a task in the next group and return its result when that group is on the disk.

        Raises ``Unavailable`` where the group could not be stored; then none of it was, or nobody can know.
        """
        return await self.submit(run, writes)

    def submit(self, run: Callable[[Group], Result], writes: int = 1) -> asyncio.Future[Result]:
        """``do`` without the waiting."""
        if self._closed:
            raise away("the engine is closed")
        if self._dead is not None:
            raise away(self._dead)
        if self._pid != os.getpid():
            self._begin()
        if self.waiting >= QUEUE_TASKS:
            raise Unavailable(f"{QUEUE_TASKS} commits are waiting for the disk", code="overloaded", retry_after=1.0)
        loop = asyncio.get_running_loop()
        task = _Task(run, writes, loop, loop.create_future())
        self._queue.put(task)
        if self._thread is None:
            self._start()
        return task.future

    def remember(self, group: int) -> None:
        """Its listeners are told of this group otherwise than by looking at the file."""
        self.own[group] = None
        if len(self.own) > OWN_GROUPS:
            del self.own[next(iter(self.own))]

    def close(self) -> None:
        """Finish what is waiting, then end the thread."""
        self._closed = True
        if self._thread is not None and self._pid == os.getpid():
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _begin(self) -> None:
        """Start from nothing: threads do not survive a fork, and what waits belongs to the parent."""
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = None
        self.handle = Handle(self._file, cache=WRITERS_CACHE)
        self.listeners = []

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="milepost-sqlite", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            with self.handle.lock:
                tasks = self._group(task)
                if tasks is None:
                    continue
                self._tell(*tasks)
                try:
                    self.handle.checkpoint()
                except DriverError as error:
                    self._failed(error)

    def _group(self, first: _Task, *, alone: bool = False) -> tuple[list[_Task], Group | None] | None:
        """Run tasks in one transaction; None where one of them broke and each was run alone instead."""
        tasks = [first]
        handle = self.handle
        try:
            if self._dead is not None:
                raise away(self._dead)
            self._file.check()
            handle.begin()
            group = Group(handle.connection, time.time())
            self._file.check_id(group.file)
            for task in self._gather(first, tasks, alone=alone):
                try:
                    task.answer = task.run(group)
                except MilepostError as error:
                    task.error = error
            group.flush()
            handle.connection.execute("COMMIT")
            self._file.check()  # what went into a file that nobody finds again is not stored
        except DriverError as error:
            handle.rollback()
            self._failed(error)
            return _all_failed(tasks, explain(error)), None
        except Unavailable as error:
            handle.rollback()
            return _all_failed(tasks, error), None
        except Exception as error:  # noqa: BLE001 — a bug in one task must not take the others, nor the thread, with it
            handle.rollback()
            if len(tasks) == 1:
                return _all_failed(tasks, error), None
            for task in tasks:
                task.error = None
                if result := self._group(task, alone=True):
                    self._tell(*result)
            return None
        self.remember(group.number)
        return tasks, group

    def _gather(self, first: _Task, tasks: list[_Task], *, alone: bool) -> Iterable[_Task]:
        until = time.monotonic() + GROUP_SECONDS
        writes = first.writes
        yield first
        while not alone and writes < GROUP_WRITES and time.monotonic() < until:
            try:
                task = self._queue.get_nowait()
            except queue.Empty:
                return
            if task is None:
                self._queue.put(None)
                return
            tasks.append(task)
            writes += task.writes
            yield task

    def _failed(self, error: DriverError) -> None:
        if is_fatal(error):
            self._dead = f"the disk failed, so nothing is acknowledged until the server is started again: {error}"

    def _tell(self, tasks: list[_Task], group: Group | None) -> None:
        """One wake-up per event loop, for everything that a group means to it."""
        tenants: Iterable[str | None] = ()
        if group is not None:
            tenants = (None,) if group.renewed else group.grown
        loops: dict[asyncio.AbstractEventLoop, list[_Task]] = {}
        for task in tasks:
            loops.setdefault(task.loop, []).append(task)
        number = 0 if group is None else group.number
        listeners = list(self.listeners) if tenants else []
        for listener in listeners:
            loops.setdefault(listener.loop, [])
        for loop, mine in loops.items():
            theirs = [listener for listener in listeners if listener.loop is loop]
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(_deliver, mine, theirs, number, tenants)


def _all_failed(tasks: list[_Task], error: Exception) -> list[_Task]:
    for task in tasks:
        task.error = error  # also those that conflicted: with what was then not stored
    return tasks


def _deliver(tasks: Iterable[_Task], listeners: Iterable[Listener], group: int, tenants: Iterable[str | None]) -> None:
    for task in tasks:
        if task.future.done():  # its caller was cancelled
            continue
        if task.error is not None:
            task.future.set_exception(task.error)
        else:
            task.future.set_result(task.answer)
    for listener in listeners:
        listener.hear(group, tenants)
