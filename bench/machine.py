"""The machine that measures: one core for what is measured, another for what measures it; what is open at once."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CORES: Final = sorted(os.sched_getaffinity(0))
SERVER_CORE: Final = CORES[0]
LOAD_CORE: Final = CORES[-1]  # the same one where there is no other; `describe` says so
OPEN_FILES: Final = 6_000  # of one process: the most connections of a scenario, and room


def prepare() -> None:
    """Let this process, and those it starts, open enough files. Raises SystemExit where the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise SystemExit(f"The figures need {OPEN_FILES} open files in a process; the limit here is {hard}.")
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def pin(pid: int, core: int) -> None:
    """Keep a process, and the threads it will start, on one core."""
    os.sched_setaffinity(pid, {core})


def describe() -> str:
    """The machine in general words."""
    cores = f"{len(CORES)} cores: servers on one, load on another" if len(CORES) > 1 else "1 core, shared with the load"
    return f"{os.uname().sysname} {os.uname().release.split('-')[0]}, {cores}"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one scenario's data. Not in /tmp, which may be memory, where an fsync costs nothing."""
    with tempfile.TemporaryDirectory(prefix="milepost-bench-", dir="/var/tmp") as path:
        yield Path(path)


def resident(pid: int) -> int:
    """The bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, all its threads, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
