"""The machine that measures: one core for what is measured, another for what measures it; what is open at once."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

CORES: Final = sorted(os.sched_getaffinity(0))
SERVER_CORE: Final = CORES[0]
LOAD_CORE: Final = CORES[-1]  # the same one where there is no other; `describe` says so
OPEN_FILES: Final = 16_500  # of one process: the most connections of a scenario, and room


def prepare() -> None:
    """Let this process, and those it starts, open enough files. Raises SystemExit where the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise SystemExit(f"The figures need {OPEN_FILES} open files in a process; the limit here is {hard}.")
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def pin(pid: int, core: int) -> None:
    """Keep a process, and the threads and processes it will start, on one core."""
    os.sched_setaffinity(pid, {core})


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process, and those that it starts meanwhile, on one core; they stay there."""
    before = os.sched_getaffinity(0)
    pin(0, core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe() -> str:
    """The machine in general words."""
    cores = f"{len(CORES)} cores: servers on one, load on another" if len(CORES) > 1 else "1 core, shared with the load"
    return f"{os.uname().sysname} {os.uname().release.split('-')[0]}, {cores}"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one scenario's data. Not in /tmp, which may be memory, where an fsync costs nothing."""
    with tempfile.TemporaryDirectory(prefix="milepost-bench-", dir="/var/tmp") as path:
        yield Path(path)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on, for servers that cannot choose one themselves."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def family(pid: int) -> list[int]:
    """A process and all that it started, and they again."""
    pids = [pid]
    for one in pids:
        with suppress(FileNotFoundError):
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
    return pids


def resident(pid: int) -> int:
    """The bytes of memory that a process and its children hold."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """The processor time that a process and its children have used, all their threads, in user and kernel mode."""
    # the number of another process' clock, as clock_getcpuclockid(3) makes it: nanoseconds, where /proc has hundredths
    return sum(time.clock_gettime(~one << 3 | 2) for one in family(pid))


def kernel_seconds(pid: int) -> float:
    """What of ``cpu_seconds`` was in kernel mode, in hundredths."""
    ticks = sum(int(Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[12]) for one in family(pid))
    return ticks / os.sysconf("SC_CLK_TCK")


def compiled(source: str, to: Path, *flags: str) -> Path:
    """One of the C files beside this one as a program in a folder."""
    program, text = to / Path(source).stem, Path(__file__).with_name(source)
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", *flags, "-o", program, text], check=True)
    return program
