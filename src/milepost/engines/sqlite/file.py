"""The database file and its connections: the one place that knows the driver.

SQLite's locks belong to a process, and its library remembers them across a fork. So every connection of the process
is closed before a fork and opened again, by parent and child each for itself, when it is next used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import apsw

from milepost.engines.sqlite.reading import SQL, Snapshot
from milepost.errors import Unavailable

VERSION: Final = 1
APPLICATION_ID: Final = 0x4D696C65  # "Mile", so that `file` and we can tell whose database it is
BUSY_SECONDS: Final = 5.0  # for how long a writer waits for those of other processes
LOOK_SECONDS: Final = 0.05  # how often a reader looks whether the file is still the one that it opened
CHECKPOINT_PAGES: Final = 4000  # 16 MiB of log: pages that change often are copied once for many changes
WRITERS_CACHE: Final = 16 * 1024  # KiB: each document goes to a page of its own in several indexes
READERS_CACHE: Final = 2 * 1024  # eight times as much made no read quicker, and is a kilobyte per stream of 15,000
WAL_BYTES: Final = 64 * 1024 * 1024  # what a write-ahead log shrinks to after a burst

DriverError = apsw.Error
Values = ParamSpec("Values")
Result = TypeVar("Result")


def away(message: str) -> Unavailable:
    """The one error that leaves this engine when the file does not answer."""
    return Unavailable(message, code="engine_away", retry_after=1.0)


def explain(error: apsw.Error) -> Unavailable:
    """A driver's error in the words of Milepost."""
    if isinstance(error, apsw.FullError):
        return away("the disk is full; nothing was stored")
    if isinstance(error, apsw.BusyError):
        return away(f"another process has held the database's write lock for {BUSY_SECONDS:.0f} s")
    return away(f"SQLite does not answer: {error}")


def is_fatal(error: apsw.Error) -> bool:
    """Whether nothing may be acknowledged until the file is opened anew.

    After a failed fsync the kernel forgets the pages that it could not write: a later fsync that succeeds proves
    nothing about them. A full disk shows itself before anything is synced.
    """
    if isinstance(error, apsw.IOError):
        return getattr(error, "extendedresult", 0) != int(apsw.SQLITE_IOERR_SHMSIZE)
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


class Handle:
    """One connection. Hold ``lock`` for as long as it is used, so that a fork finds no transaction open."""

    def __init__(self, file: SqliteFile, *, cache: int = READERS_CACHE) -> None:
        self.lock = threading.RLock()
        self.pages = 0  # of the write-ahead log, after this connection's last commit
        self._file = file
        self._cache = cache
        self._sharing = False
        self._shared: Snapshot | None = None
        self._connection: apsw.Connection | None = None
        self._pid = 0
        self._checkpointed = 0
        file.register(self)

    @property
    def connection(self) -> apsw.Connection:
        """The connection, opened when it is first used in this process."""
        if self._connection is None:
            self._connection = self._file.connect(self._cache)
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            raise away("the database was open when this process was forked by something other than Python")
        return self._connection

    def read(
        self, function: Callable[Concatenate[Snapshot, Values], Result], *values: Values.args, **named: Values.kwargs
    ) -> Result:
        """``function(snapshot, …)`` inside one read transaction."""
        with self.lock:
            if self._shared is not None:
                return function(self._shared, *values, **named)
            run = self.connection.execute
            run("BEGIN", ())
            snapshot = Snapshot(run)
            if self._sharing:
                self._shared = snapshot
                return function(snapshot, *values, **named)
            try:
                return function(snapshot, *values, **named)
            finally:
                run("COMMIT", ())

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for all reads inside the block, from the first of them on."""
        with self.lock:
            self._sharing = True
            try:
                yield
            finally:
                self._sharing = False
                if self._shared is not None:
                    self._shared = None
                    self.connection.execute("COMMIT", ())

    def begin(self) -> None:
        """Begin a write transaction, waiting for those of other processes in turn."""
        with self._file.turn():
            self.connection.set_wal_hook(self._committed)
            self.connection.execute("BEGIN IMMEDIATE")

    def rollback(self) -> None:
        """Leave the transaction, if there still is one."""
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    def checkpoint(self) -> None:
        """Move the log into the database when it has grown long.

        Not by SQLite itself: its automatic checkpoint swallows the error of a failed fsync.
        """
        if self.pages < self._checkpointed:
            self._checkpointed = 0
        if self.pages - self._checkpointed >= CHECKPOINT_PAGES:
            with contextlib.suppress(apsw.BusyError):  # another process is at it
                self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._checkpointed = self.pages

    def close(self, *, forking: bool = False) -> None:
        """Close the connection; the next use opens another one."""
        if self._connection is not None and self._pid == os.getpid():
            if forking:  # others may be waiting for the fork; the log can stay as it is
                self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            with contextlib.suppress(apsw.Error):
                self._connection.close(True)
            self._connection = None

    def _committed(self, _: apsw.Connection, __: str, pages: int) -> int:
        self.pages = pages
        return 0


class SqliteFile:
    """A database file, made and brought to the present version where needed, and watched for being replaced.

    Raises ``Unavailable`` where it cannot be opened, and from every use after it was deleted or replaced: what would
    be written then could never be found again.
    """

    def __init__(self, path: str) -> None:
        self.path = str(Path(path).absolute())
        self.refused: str | None = None
        self.handles: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._handles_lock = threading.Lock()
        self._looked_at = 0.0
        self._turn: int | None = None
        try:
            self._create()
            self._identity = self._stat()
            with self.turn():
                self.id = self._prepare()
        except apsw.Error as error:
            raise explain(error) from error
        except OSError as error:
            raise away(f"cannot open {self.path}: {error.strerror}") from error
        self.check()
        with _files_lock:
            _FILES.add(self)

    def connect(self, cache: int) -> apsw.Connection:
        """A connection on which a commit returns only when it is on the disk. ``cache``: KiB of pages that it keeps."""
        self.check()
        connection = self.open()
        connection.set_busy_handler(_wait)
        connection.execute("PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        connection.execute(f"PRAGMA fullfsync = ON; PRAGMA cache_size = -{cache}")
        # Without it every statement with a range is planned anew for each run, which takes five times the run itself.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self.set_synchronous(connection)
        self.check()
        return connection

    def open(self) -> apsw.Connection:
        """A bare connection."""
        return apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)  # never creates: it was there

    def set_synchronous(self, connection: apsw.Connection) -> None:
        """Every commit is synced: NORMAL and OFF lose acknowledged commits when the power fails."""
        connection.execute("PRAGMA synchronous = FULL")
        if connection.pragma("journal_mode") != "wal" or connection.pragma("synchronous") != 2:
            raise away(f"{self.path} cannot be opened with a write-ahead log and synchronous=FULL")

    def register(self, handle: Handle) -> None:
        """Let the file close the handle around a fork and at its own end."""
        with self._handles_lock:
            self.handles.add(handle)

    def look(self) -> None:
        """``check``, at most every ``LOOK_SECONDS``."""
        if self.refused is not None or time.monotonic() - self._looked_at > LOOK_SECONDS:
            self.check()

    def check(self) -> None:
        """Raise ``Unavailable`` unless the path still names the file that was opened."""
        if self.refused is None:
            try:
                same = self._stat() == self._identity
            except OSError:
                same = False
            self._looked_at = time.monotonic()
            if not same:
                self.refused = f"{self.path} was deleted or replaced while it was in use; restart to use what is there"
        if self.refused is not None:
            raise away(self.refused)

    def check_id(self, found: str) -> None:
        """Raise ``Unavailable`` unless the contents are those of the file that was opened."""
        if found != self.id:
            self.refused = f"{self.path} was overwritten while it was in use; restart to use what is there"
            raise away(self.refused)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Queue up for the write lock: who waits for it holds the turn, so who just had it cannot take it again first.

        SQLite's own waiting is not fair: of several busy processes one may get no commit for seconds.
        """
        if self._turn is None:
            self._turn = os.open(f"{self.path}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        patience = _Patience()
        while True:
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not patience.wait():
                    raise apsw.BusyError("the turn to write did not come") from None
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self, *, forking: bool = False) -> None:
        """Close every connection. Only a fork may be followed by further use."""
        for handle in list(self.handles):
            with handle.lock:
                handle.close(forking=forking)
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    def before_fork(self) -> None:
        """Wait for every transaction to end, close everything, and let nobody begin until the fork is done."""
        self._handles_lock.acquire()
        for handle in (held := list(self.handles)):
            handle.lock.acquire()
        self._held = held
        self.close(forking=True)

    def after_fork(self) -> None:
        """In the parent and in the child."""
        for handle in self._held:
            handle.lock.release()
        self._held = []
        self._handles_lock.release()

    def _stat(self) -> tuple[int, int]:
        found = os.stat(self.path)  # noqa: PTH116 — on the path of every read, and Path costs three times as much
        return found.st_dev, found.st_ino

    def _create(self) -> None:
        with contextlib.suppress(FileExistsError):
            # Only a file that was not there is opened here: closing a second descriptor of a database drops the locks
            # that SQLite holds on it in this process.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _prepare(self) -> str:
        connection = self.open()
        try:
            connection.set_busy_handler(_wait)
            tables = next(iter(connection.execute("SELECT count(*) FROM sqlite_schema")))[0]
            application, version = connection.pragma("application_id"), connection.pragma("user_version")
            if tables and application != APPLICATION_ID:
                raise away(f"{self.path} is the database of another application")
            if version > VERSION:
                raise away(f"{self.path} was written by a newer Milepost (version {version} of the file)")
            connection.execute("PRAGMA journal_mode = WAL")
            self.set_synchronous(connection)
            if version < VERSION:
                with connection:
                    for step in range(version, VERSION):
                        connection.execute(SQL[f"schema_{step + 1}"])
                    if not version:
                        connection.execute(SQL["create_file"], (secrets.token_hex(8), secrets.token_hex(16)))
                        connection.pragma("application_id", APPLICATION_ID)
                    connection.pragma("user_version", VERSION)
            found: str = next(iter(connection.execute(SQL["file"])))[0]
            return found
        finally:
            connection.close()


class _Patience:
    """Waits a little, again and again, until ``BUSY_SECONDS`` are over."""

    def __init__(self) -> None:
        self._until = time.monotonic() + BUSY_SECONDS

    def wait(self) -> bool:
        """Wait; False when there was enough of it. A random time, so that those who wait do not wait in step."""
        if time.monotonic() > self._until:
            return False
        time.sleep(random.uniform(0.0002, 0.001))
        return True


_waiting = threading.local()


def _wait(attempts: int) -> bool:
    """SQLite's busy handler: only the holder of the turn comes here, so it looks often."""
    if attempts == 0:
        _waiting.patience = _Patience()
    return bool(_waiting.patience.wait())


_FILES: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
_files_lock = threading.Lock()
_forking: list[SqliteFile] = []


def _before_fork() -> None:
    _files_lock.acquire()
    _forking[:] = _FILES
    for file in _forking:
        file.before_fork()


def _after_fork() -> None:
    for file in _forking:
        file.after_fork()
    _forking.clear()
    _files_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
