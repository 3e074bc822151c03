"""A minute of everything at once: jobs under way, notifications, and readers that leave without a word and resume."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bench import machine
from bench.connections import fill
from bench.crowd import Crowd, Mix
from bench.load import Producer, Remote
from bench.report import Table, number, p99
from bench.servers import Milepost, user

STREAMS = 2_000
JOBS = 100  # under way: each moves too seldom for two steps to be joined, and too often to be found silent
RATE = 200.0  # documents/s, half of them steps of jobs
CHURN = 20.0  # connects/s
SECONDS = 60
PATHS = {"notification": ("notification", "message"), "job": ("job", "message")}


class Course(NamedTuple):
    """How a crowd is treated."""

    rate: float
    churn: float
    seconds: int


def run() -> Sequence[Table]:
    """Measure."""
    with machine.folder() as folder, Milepost(folder) as server, Remote(Crowd) as crowd, Remote(Producer) as producer:
        gather(server, crowd)
        used = machine.cpu_seconds(server.pid)
        course = Course(RATE, CHURN, SECONDS)
        seen = treat(server, crowd, producer, course)
        cpu = (machine.cpu_seconds(server.pid) - used) / SECONDS * 100
    return [told("Mixed", course, seen, cpu)]


def gather(server: Milepost, crowd: Remote) -> None:
    """Open the streams, each with a job and a notification in its snapshot."""
    fill(server, STREAMS)
    server.open(crowd, [server.stream(n) for n in range(STREAMS)])


def treat(server: Milepost, crowd: Remote, producer: Remote, course: Course) -> Mix:
    """Publish and churn; what the crowd saw."""
    # 7 and 2,000 have no common divisor: every user has a turn
    notes = [server.publish(user(n * 7 % STREAMS)) for n in range(STREAMS)]
    steps = [server.advance(f"job-{user(n * 20)}") for n in range(JOBS)]
    requests = [one for n in range(STREAMS) for one in (notes[n], steps[n % JOBS])]
    count = int(course.rate * course.seconds)
    crowd.begin("mix", server.address, count, PATHS, course.churn)
    producer.call("pace", server.publisher, requests, course.rate, count)
    seen: Mix = crowd.end()
    return seen


def told(name: str, course: Course, seen: Mix, cpu: float) -> Table:
    """As a table."""
    title = (
        f"{name}: {course.seconds} s, {STREAMS:,} streams, {course.rate:.0f} documents/s (jobs and notifications), "
        f"{course.churn:.0f} streams/s that leave and resume"
    )
    times = [nanoseconds / 1e6 for nanoseconds in seen.latencies]
    connects = [seconds * 1e3 for seconds in seen.resumed]
    table = Table(
        title,
        ("", "p50", "p99", "the worst"),
        notes=(
            f"{len(times):,} documents, each came exactly once.",
            f"{len(connects):,} streams resumed, {seen.cut} of them cut off.",
            f"The server used {cpu:.0f} % of its core.",
        ),
    )
    for what, values in (("publish to receive", times), ("connect to live", connects)):
        told = [f"{number(value)} ms" for value in (statistics.median(values), p99(values), max(values))]
        table.rows.append((what, *told))
    return table
