"""The server is killed, comes back, and ten thousand browsers return in the same moment, each with its own cursor.

While they were away each of them missed from 1 to 1,000 notifications and two steps of its job. Measured from the
moment in which all begin to connect until each has got all of that, and `live`; nothing may be missing or come twice.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench import machine
from bench.connections import fill
from bench.crowd import Crowd
from bench.load import Producer, Remote
from bench.report import Figure, Goal, Table, p99
from bench.servers import Milepost, user

STREAMS = 10_000
TIMES = 3
PAGE = 2  # of each job, when its reader comes back
BATCH = 200


def run() -> Sequence[Table]:
    """Measure."""
    halves: list[float] = []
    most: list[float] = []
    last: list[float] = []
    later: list[float] = []
    missed = [_missed(n) for n in range(STREAMS)]
    with machine.folder() as folder, Milepost(folder) as server, Remote(Crowd) as crowd, Remote(Producer) as producer:
        fill(server, STREAMS)
        server.open(crowd, [server.stream(n) for n in range(STREAMS)])
        for turn in range(TIMES):
            server.restart()
            crowd.call("lose")
            producer.call("each", server.publisher, _what_happens(server, missed, PAGE * (turn + 1)))
            resumed, refused = crowd.call("storm", server.address, missed, PAGE * (turn + 1))
            halves.append(statistics.median(resumed))
            most.append(p99(resumed))
            last.append(max(resumed))
            later.append(refused)
    table = Table(
        f"Storm: {STREAMS:,} streams resume at once after the server was killed",
        ("", "half", "99 of 100", "the last", "told to come later"),
        notes=(
            f"Each got exactly the 1 to 1,000 notifications that it missed, {sum(missed):,} in all,",
            "and the newest state of its job.",
        ),
    )
    figures = [Figure(halves, " s"), Figure(most, " s"), Figure(last, " s"), Figure(later)]
    table.rows.append(("Milepost", *map(str, figures)))
    table.goals.append(Goal(f"{STREAMS:,} resumed after a kill, nothing lost", "≤", 10, Figure(last).median, " s"))
    return [table]


def _missed(number: int) -> int:
    """How many notifications a reader misses: 1, one in ten 10, one in a hundred 100, one in a thousand 1,000."""
    return next(size for size in (1_000, 100, 10, 1) if number % size == 0)


def _what_happens(server: Milepost, missed: Sequence[int], page: int) -> Sequence[bytes]:
    """While the readers are away: their notifications, and two steps of each job."""
    users = [user(number) for number, count in enumerate(missed) for _ in range(count)]
    requests = [server.batch(users[at : at + BATCH]) for at in range(0, len(users), BATCH)]
    for step in (page - 1, page):
        for at in range(0, len(missed), BATCH):
            jobs = [f"job-{user(number)}" for number in range(at, at + BATCH)]
            requests.append(server.commands({"verb": "advance", "job": job, "current": step} for job in jobs))
    return requests
