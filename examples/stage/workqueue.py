"""The queue between page and worker: one folder for each request, and a file lock as the claim.

Promised: a request that ``submit`` returned is on the disk and is worked on at least once, also when a worker is killed
in the middle of it. A claim is a lock that the kernel gives back when its process ends, however it ends; so there is no
lease and no guess: whoever gets the lock of an unfinished request is its only worker. A stopped (not dead) worker keeps
its claim; the hub is what notices that one.

Not promised: exactly once (the same request may be rendered again after a crash: same input, same files), or order
beyond "oldest first" among the requests that are free.

    queue/waiting/<id>/   request.json · attempts · lock · withdrawn?     until it is finished
    queue/finished/<id>/  the same, kept for as long as its download
    queue/bell            a FIFO: one byte for each request wakes one idle worker
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

ATTEMPTS: Final = 5  # a request that kills its worker this often is given up
_ID: Final = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,127}")  # a folder's name, so it never begins with a dot


def request_id(prefix: str, owner: str, key: str) -> str:
    """An id from who asks and the key of what they sent: sent twice it is one, and nobody's key meets another's."""
    digest = hashlib.sha256(f"{owner}\n{key}".encode("utf-8", "replace"))
    return f"{prefix}-{digest.hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Request:
    """What one visitor asked for: ``wish`` is the example's own, JSON all through.

    ``pace`` is the pause after each step in seconds, 0 = full speed. The job's id is the request's, unless the same job
    runs again (``job``, ``attempt``). ``tenant`` is the example's own where it has only one.
    """

    id: str
    owner: str
    title: str
    wish: dict[str, Any]
    pace: float = 0.0
    tenant: str = ""
    job: str = ""
    attempt: int = 1
    submitted_at: float = field(default_factory=time.time)

    @property
    def job_id(self) -> str:
        """The job that this request is worked off as."""
        return self.job or self.id


@dataclass(slots=True)
class Claim:
    """A request that is this process's to work on, until ``finish`` or ``give_back``."""

    request: Request
    attempt: int
    _folder: Path
    _finished: Path
    _lock: int

    @property
    def withdrawn(self) -> bool:
        """Whether nobody wants it any more."""
        return (self._folder / "withdrawn").exists()

    def finish(self) -> None:
        """The request is done, one way or the other: nobody will work on it again."""
        with contextlib.suppress(FileNotFoundError):
            self._folder.rename(self._finished / self.request.id)
        self._release()

    def give_back(self) -> None:
        """Leaves the request to whoever claims it next, as if it had not been claimed: no attempt is counted."""
        _write(self._folder / "attempts", str(self.attempt - 1))
        self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class WorkQueue:
    """See the module. Any number of processes on one host may use the same folder."""

    def __init__(self, folder: Path) -> None:
        self._waiting = folder / "waiting"
        self._finished = folder / "finished"
        self._drafts = folder / "drafts"
        self._bell = folder / "bell"
        for part in (self._waiting, self._finished, self._drafts):
            part.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._bell)
        # Read-write, so that neither side ever sees the end of it while the other one restarts.
        self._bell_fd = os.open(self._bell, os.O_RDWR | os.O_NONBLOCK)

    def close(self) -> None:
        """Lets the bell go."""
        os.close(self._bell_fd)

    def submit(self, request: Request) -> bool:
        """Stores the request; False where one of this id is there already, which then stays as it is."""
        if not _ID.fullmatch(request.id):
            raise ValueError(f"not an id: {request.id!r}")
        if self.find(request.id) is not None:
            return False
        draft = Path(tempfile.mkdtemp(dir=self._drafts))
        _write(draft / "request.json", json.dumps(asdict(request)))
        (draft / "lock").touch()
        try:
            draft.rename(self._waiting / request.id)
        except OSError:  # somebody else was quicker with the same id: a folder that is not empty is never replaced
            shutil.rmtree(draft)
            return False
        _sync(self._waiting)
        with contextlib.suppress(BlockingIOError):  # a full bell wakes everybody anyway
            os.write(self._bell_fd, b".")
        return True

    def claim(self) -> Claim | None:
        """The oldest request that nobody works on, or None. A request whose worker died comes with attempt + 1."""
        for folder in sorted(self._waiting.iterdir(), key=_submitted):
            claim = self._try(folder)
            if claim is not None:
                return claim
        return None

    def _try(self, folder: Path) -> Claim | None:
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lock may have become free because its worker finished and moved the folder away.
            if not os.path.samestat(os.fstat(lock), (folder / "lock").stat()):
                raise BlockingIOError
            request = _read(folder)
            attempt = int(_text(folder / "attempts") or 0) + 1
            _write(folder / "attempts", str(attempt))
        except OSError:
            os.close(lock)
            return None
        return Claim(request, attempt, folder, self._finished, lock)

    def wait(self, seconds: float) -> None:
        """Blocks until a request comes in, at most so long: a request left by a dead worker rings no bell."""
        ready, _, _ = select.select([self._bell_fd], [], [], seconds)
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell_fd, 1)

    def withdraw(self, request_id: str) -> None:
        """Marks a request as no longer wanted: whoever claims it next only finishes it."""
        with contextlib.suppress(FileNotFoundError):  # finished in the meantime
            (self._waiting / request_id / "withdrawn").touch()

    def find(self, request_id: str) -> Request | None:
        """A request by its id, waiting or finished."""
        if not _ID.fullmatch(request_id):
            return None
        for place in (self._waiting, self._finished, self._waiting, self._finished):  # it may move between two looks
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return _read(place / request_id)
        return None

    def find_own(self, request_id: str, owner: str | None) -> Request | None:
        """The same, where it is this owner's."""
        found = self.find(request_id)
        return found if found and found.owner == owner else None

    def forget(self, older_than: float) -> list[Request]:
        """Deletes what was finished more than so many seconds ago and returns it."""
        gone = []
        for folder in self._finished.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another worker was quicker
                if folder.stat().st_mtime < time.time() - older_than:
                    gone.append(_read(folder))
                    shutil.rmtree(folder, ignore_errors=True)
        return gone


def _read(folder: Path) -> Request:
    return Request(**json.loads((folder / "request.json").read_bytes()))


def _submitted(folder: Path) -> float:
    try:
        return (folder / "request.json").stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and on the disk before the name appears."""
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
