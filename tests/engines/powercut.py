"""A disk whose power can fail: an SQLite VFS that logs every write and sync, and says what any cut would leave.

A process that is killed proves nothing about syncing, since the operating system keeps what was written. Here only
what was synced is kept; in the ``torn`` variant also any part of the rest, as real disks may.
"""

# ruff: noqa: N802 — the methods' names are SQLite's

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from milepost.engine import Document
from milepost.engines.sqlite import SqliteEngine
from milepost.engines.sqlite.file import SqliteFile
from milepost.model import Cursor

NAME = "milepost.db"
_names = itertools.count()


@dataclass(frozen=True)
class Event:
    """One thing that happened: write, truncate, delete, sync, or the acknowledgement of a document."""

    what: str
    file: str = ""
    at: int = 0
    data: bytes = b""
    document: Document | None = None


@dataclass
class Disk:
    """A VFS by ``name``. ``log`` is what happened to it; ``fault`` has the error that a kind of event fails with."""

    log: list[Event] = field(default_factory=list)
    fault: dict[str, int] = field(default_factory=dict)
    fault_file: str | None = None
    name: str = field(default_factory=lambda: f"powercut-{next(_names)}")
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._vfs = _Vfs(self)

    def happened(self, event: Event) -> None:
        """Log an event, or raise the error that it is to fail with."""
        code = self.fault.get(event.what)
        if code and self.fault_file in (None, event.file):
            raise apsw.exception_for(code)
        with self.lock:
            self.log.append(event)

    def acknowledged(self, document: Document) -> None:
        """A commit returned: from here on no cut may lose it."""
        with self.lock:
            self.log.append(Event("ack", document=document))

    def close(self) -> None:
        """Take the VFS out of SQLite."""
        self._vfs.unregister()


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.happened(Event("delete", Path(filename).name))
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        full = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(full).name if full else ""

    def xWrite(self, data: Any, offset: int) -> None:
        self._disk.happened(Event("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._disk.happened(Event("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self._disk.happened(Event("sync", self._name))
        super().xSync(flags)


class File(SqliteFile):
    """The engine's file on such a disk."""

    def __init__(self, path: str, disk: Disk) -> None:
        self._disk = disk
        super().__init__(path)

    def open(self) -> apsw.Connection:
        """A bare connection through the disk."""
        return apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=self._disk.name)


class Engine(SqliteEngine):
    """The engine as it is, on such a disk."""

    file_type: type[File] = File

    def __init__(self, path: str, disk: Disk) -> None:
        self._disk = disk
        super().__init__(path)

    def _open(self, path: str) -> SqliteFile:
        return self.file_type(path, self._disk)


def careless(synchronous: str) -> type[Engine]:
    """A build of the engine that does not sync as it must: what the checker has to catch."""

    class CarelessFile(File):
        def set_synchronous(self, connection: apsw.Connection) -> None:
            connection.execute(f"PRAGMA synchronous = {synchronous}")

    class CarelessEngine(Engine):
        file_type = CarelessFile

    return CarelessEngine


@dataclass
class _Remains:
    """A file: what is synced, and what was done since."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Event] = field(default_factory=list)

    def left(self, torn: random.Random | None) -> bytes:
        data = bytearray(self.synced)
        for event in self.since:
            if torn is not None and torn.random() < 0.5:
                whole = torn.random() < 0.8 or event.what == "truncate"
                _apply(data, event, len(event.data) if whole else torn.randrange(len(event.data) + 1))
        return bytes(data)


def _apply(data: bytearray, event: Event, length: int | None = None) -> None:
    if event.what == "truncate":
        del data[event.at :]
        return
    new = event.data[:length]
    if len(data) < event.at:
        data.extend(bytes(event.at - len(data)))
    data[event.at : event.at + len(new)] = new


@dataclass(frozen=True)
class Cut:
    """What one power cut leaves: the files' contents, and the documents that were acknowledged before it."""

    files: dict[str, bytes]
    acknowledged: dict[str, Document]


def cuts(log: list[Event], *, torn: random.Random | None = None) -> Iterator[Cut]:
    """The power fails before and after every sync, and at the end."""
    files: dict[str, _Remains] = {}
    acknowledged: dict[str, Document] = {}

    def cut() -> Cut:
        return Cut({name: remains.left(torn) for name, remains in files.items()}, dict(acknowledged))

    for event in log:
        if event.document is not None:
            acknowledged[event.document.key] = event.document
        elif event.what == "delete":
            files.pop(event.file, None)
        elif event.what == "sync":
            yield cut()
            remains = files.setdefault(event.file, _Remains())
            for done in remains.since:
                _apply(remains.synced, done)
            remains.since.clear()
            yield cut()
        else:
            files.setdefault(event.file, _Remains()).since.append(event)
    yield cut()


def lost(cut: Cut, folder: Path) -> list[str]:
    """The keys of acknowledged documents that a cut lost. Raises where what it left is no sound store."""
    folder.mkdir()
    for name, data in cut.files.items():
        (folder / name).write_bytes(data)
    path = str(folder / NAME)
    connection = apsw.Connection(path)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()

    async def missing() -> list[str]:
        engine = SqliteEngine(path)
        (head,) = await engine.heads(["t"])
        found = await engine.get("t", list(cut.acknowledged))
        every = (await engine.changes("t", None, Cursor(head.epoch, 0), now=0, limit=100_000)).documents
        assert {it.key: it for it in every if not it.gone} == {
            it.key: it for it in await engine.get("t", [it.key for it in every]) if it
        }
        await engine.close()
        return [
            key
            for (key, wanted), it in zip(cut.acknowledged.items(), found, strict=True)
            if it is None or it.revision < wanted.revision or (it.revision == wanted.revision and it != wanted)
        ]

    return asyncio.run(missing())
