"""Ten minutes of jobs, notifications and readers that leave and resume: what the server holds afterwards, and before.

Counted with all streams open, in a quiet moment: once a first minute has warmed everything up, and at the end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import machine
from bench.crowd import Crowd
from bench.load import Producer, Remote
from bench.mixed import STREAMS, Course, gather, told, treat
from bench.report import Goal, Table
from bench.servers import Milepost, user

WARM = Course(rate=50, churn=10, seconds=60)
SOAK = Course(rate=50, churn=10, seconds=600)
HISTORY = 20  # notifications of each user to begin with: enough to fill SQLite's caches
TWO_HUNDRED = [[user(n) for n in range(at, at + 200)] for at in range(0, STREAMS, 200)]
QUIET_SECONDS = 3.0  # for whoever left just now to be noticed


class Held(NamedTuple):
    """What a server's process holds."""

    memory: float  # MiB
    descriptors: int
    tasks: int


class Counted(Milepost):
    """Milepost, whose tasks can be counted."""

    module = "bench.counted"

    def held(self, crowd: Remote) -> Held:
        """Now. Its streams are read on meanwhile."""
        crowd.call("idle", QUIET_SECONDS, self.beat)
        told = self.log.read_text().count("tasks: ")
        os.kill(self.pid, signal.SIGUSR1)
        while (lines := self.log.read_text()).count("tasks: ") == told or not lines.endswith("\n"):
            time.sleep(0.02)
        tasks = int(lines.rpartition("tasks: ")[2].split()[0])
        return Held(machine.resident(self.pid) / 2**20, len(list(Path(f"/proc/{self.pid}/fd").iterdir())), tasks)


def run() -> Sequence[Table]:
    """Measure."""
    with machine.folder() as folder, Counted(folder) as server, Remote(Crowd) as crowd, Remote(Producer) as producer:
        producer.call("each", server.publisher, [server.batch(users) for _ in range(HISTORY) for users in TWO_HUNDRED])
        gather(server, crowd)
        treat(server, crowd, producer, WARM)
        before, used = server.held(crowd), machine.cpu_seconds(server.pid)
        seen = treat(server, crowd, producer, SOAK)
        cpu = (machine.cpu_seconds(server.pid) - used) / SOAK.seconds * 100
        after = server.held(crowd)
    table = Table("Soak: what the server holds with its streams open", ("", "memory", "descriptors", "asyncio tasks"))
    for when, held in (("after the first minute", before), (f"{SOAK.seconds} s later", after)):
        table.rows.append((when, f"{held.memory:.1f} MiB", str(held.descriptors), str(held.tasks)))
    table.goals = [
        Goal("soak: memory at the end, to the start", "≤", 1.1, after.memory / before.memory, " ×"),
        Goal("soak: more descriptors at the end", "≤", 0, after.descriptors - before.descriptors),
        Goal("soak: more tasks at the end", "≤", 0, after.tasks - before.tasks),
    ]
    return [told("Soak", SOAK, seen, cpu), table]
