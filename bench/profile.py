"""Where Milepost's processor time goes: by part of the program, sampled by py-spy while it does one thing.

It explains a figure of the other scenarios; the sampling itself takes time of the load's core. A function of C counts
for the Python function that called it, the kernel's ``write`` for whoever writes. Needs the right to trace processes.
"""

from __future__ import annotations

import linecache
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import milepost
from bench import machine
from bench.connections import fill
from bench.load import Producer, Remote
from bench.publish import BATCHES, USERS
from bench.readers import Readers
from bench.report import Table
from bench.servers import Milepost, user

SECONDS = 3
SOURCES: Final = Path(milepost.__file__).parent.parent
STREAMS = 5_000
PARTS: Final = {  # by where the innermost function is: the first that fits
    "the loop and its system calls": ("asyncio", "uvloop"),
    "connections: uvicorn, hand-over, write()": ("uvicorn", "milepost/server/door", "milepost/server/handoff"),
    "token": ("milepost/auth", "jwt", "json", "base64", "hmac", "milepost/server/access"),
    "engine: SQLite, waits for the disk included": ("milepost/engines",),
    "hub, frames": (
        "milepost/hub",
        "milepost/pulse",
        "milepost/unread",
        "milepost/delivery",
        "milepost/subscriber",
        "milepost/wire",
        "milepost/dialects",
        "milepost/wheel",
    ),
    "commands, rules, documents": (
        "milepost/ledger",
        "milepost/draft",
        "milepost/inbox",
        "milepost/model",
        "milepost/commands",
        "milepost/coalescer",
        "milepost/queries",
        "milepost/links",
        "milepost/idempotency",
        "pydantic",
    ),
    "routes, limits, metrics": ("milepost/server", "starlette", "fastapi", "prometheus_client"),
}
REST: Final = "the rest"


def run() -> Sequence[Table]:
    """Measure."""
    found: dict[str, Counter[str]] = {}
    with machine.folder() as folder, Milepost(folder) as server, Remote(Readers) as readers, Remote(Producer) as load:
        fill(server, 2 * STREAMS)
        server.open(readers, [server.stream(n) for n in range(STREAMS)])
        readers.begin("broadcast", server.publisher, server.publish(None), b"event: notification", SECONDS + 1.0)
        found["a delivery"] = _sampled(server, folder)
        readers.end()
        more = [server.stream(n) for n in range(STREAMS, 2 * STREAMS)]
        readers.begin("open", server.address, more, server.ready, server.at_once)
        found["a connect"] = _sampled(server, folder)
        readers.end()
        readers.call("close")
        users = [user(n) for n in range(USERS)]
        batches = [server.batch(users[at : at + BATCHES[-1]]) for at in range(0, USERS, BATCHES[-1])]
        for name, requests, connections in (
            ("a publish", [server.publish(to) for to in users], 64),
            ("a publish in a batch", batches, 8),
        ):
            load.begin("saturate", server.publisher, requests, connections, SECONDS + 1.0)
            found[name] = _sampled(server, folder)
            load.end()
    table = Table("Where the time of Milepost's core goes, in %", ("", *found))
    for part in (*PARTS, REST):
        table.rows.append((part, *(f"{counted[part] / counted.total():.0%}" for counted in found.values())))
    return [table]


def _sampled(server: Milepost, folder: Path) -> Counter[str]:
    """Samples of the next seconds by part. Threads that wait are not counted."""
    raw = folder / "samples"
    spy = Path(sys.executable).with_name("py-spy")
    command: list[str | Path] = [
        spy,
        "record",
        "-d",
        str(SECONDS),
        "-r",
        "400",
        "-f",
        "raw",
        "-o",
        raw,
        "-p",
        str(server.pid),
    ]
    subprocess.run(command, check=True, capture_output=True)
    counted: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        place = stack.rpartition(";")[2].rpartition("(")[2]
        if _waits(place):
            continue
        counted[next((part for part, homes in PARTS.items() if place.startswith(homes)), REST)] += int(samples)
    return counted


def _waits(place: str) -> bool:
    """Whether a sample's innermost line, "file:line)", is where a thread waits for work. py-spy tells most such."""
    file, _, line = place.rstrip(")").rpartition(":")
    return ".get(" in linecache.getline(str(SOURCES / file), int(line)) if file.endswith("writer.py") else False
