"""``milepost serve --workers N``: processes that share a port and a store, and a parent that keeps their number up.

Each process listens for itself with SO_REUSEPORT, so the kernel spreads connections evenly over them; the parent only
holds the port, serves nobody, and forks: it has no thread, no event loop and no connection that a child could inherit.
A process that dies is replaced; readers that it had resume with the others, where they lack nothing. A signal to stop
is passed on. Children end by themselves when their parent is gone, however it went.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE: Final = 15.0  # seconds beyond the drain time after which a child that does not end is killed
PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 5.0)  # before a process that died is replaced; the last one repeats
STEADY_SECONDS: Final = 10.0  # who lived for so long died of something else than its predecessor

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

log = logging.getLogger("milepost.server")


@dataclass(frozen=True, slots=True)
class Place:
    """What a child is told: its number from 0, the folder of its family, and what ties it to its parent."""

    number: int
    folder: Path
    parent: int  # a pipe's end that is readable when the parent is gone
    ready: int  # a pipe's end to write to once it serves

    def tell_ready(self) -> None:
        """Say to the parent that this process serves."""
        with contextlib.suppress(OSError):
            os.write(self.ready, b"1")


@dataclass(slots=True)
class _Child:
    number: int
    began: float
    ready: int  # the reading end
    failures: int = 0


class Supervisor:
    """The parent. ``run(place)`` is a child's life and gives its exit code."""

    def __init__(self, count: int, run: Callable[[Place], int], *, drain_seconds: float) -> None:
        self._count = count
        self._run = run
        self._drain_seconds = drain_seconds
        self._children: dict[int, _Child] = {}
        self._due: dict[int, tuple[float, int]] = {}  # number → when to start it, after how many failures
        self._was_ready = False
        self._kill_at: float | None = None
        self._code = 0

    def supervise(self) -> int:
        """Until it is told to stop and every child has ended; 0 if all of them ended as they should."""
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._folder = Path(tempfile.mkdtemp(prefix="milepost-"))
        self._lifeline = os.pipe()
        try:
            self._due = dict.fromkeys(range(self._count), (0.0, 0))
            while self._children or self._due:
                self._start_due(blocked)
                self._wait()
                self._reap()
        finally:
            for end in self._lifeline:
                os.close(end)
            shutil.rmtree(self._folder, ignore_errors=True)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return self._code

    @property
    def _is_stopping(self) -> bool:
        return self._kill_at is not None

    def _start_due(self, mask: set[int | signal.Signals]) -> None:
        now = time.monotonic()
        for number, (at, failures) in list(self._due.items()):
            if at <= now:
                del self._due[number]
                self._fork(number, failures, mask)

    def _fork(self, number: int, failures: int, mask: set[int | signal.Signals]) -> None:
        ready, tell = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setpgid(0, 0)  # Ctrl-C goes to the parent alone, which passes it on once
                for end in (ready, self._lifeline[1], *(child.ready for child in self._children.values())):
                    os.close(end)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                code = self._run(Place(number, self._folder, self._lifeline[0], tell))
            except BaseException:
                log.exception("process %d failed", number)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)  # none of the parent's own clean-up
        os.close(tell)
        os.set_blocking(ready, False)
        self._children[pid] = _Child(number, time.monotonic(), ready, failures)

    def _wait(self) -> None:
        """Until a signal, or until something is due."""
        times = [at for at, _ in self._due.values()]
        if self._kill_at is not None:
            times.append(self._kill_at)
        pause = max(0.0, min(times, default=time.monotonic() + 3600) - time.monotonic())
        told = signal.sigtimedwait(_SIGNALS, pause)
        if told is not None and told.si_signo != signal.SIGCHLD:
            self._stop(signal.Signals(told.si_signo))
        elif self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._send(signal.SIGKILL)

    def _stop(self, number: signal.Signals) -> None:
        """The first signal drains, the next one does not wait: the children know which it is."""
        self._due.clear()
        if not self._is_stopping:
            self._kill_at = time.monotonic() + self._drain_seconds + PATIENCE
        self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._ended(child, pid, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, pid: int, code: int) -> None:
        was_ready = self._was_told(child)
        self._was_ready |= was_ready or any(map(self._was_told, self._children.values()))
        os.close(child.ready)
        if self._is_stopping:
            self._code = self._code or abs(code)
            return
        if not self._was_ready:  # it never worked: that is for whoever started it to see
            self._code = abs(code) or 1
            self._stop(signal.SIGTERM)
            return
        failures = 1 if time.monotonic() - child.began > STEADY_SECONDS else child.failures + 1
        pause = PAUSES[min(failures, len(PAUSES)) - 1]
        log.error("process %d (pid %d) ended with %d; another one in %.1f s", child.number, pid, code, pause)
        self._due[child.number] = (time.monotonic() + pause, failures)

    @staticmethod
    def _was_told(child: _Child) -> bool:
        try:
            return os.read(child.ready, 1) == b"1"
        except BlockingIOError:
            return False
