"""A worker that is killed, or stopped and woken: its job stalls, then fails, and it can do nothing to it any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.process import Server, token

LEASE, GRACE = 2.0, 2.0
LATE = 1.0  # seconds after its time by which a stalled job has to be known as such

# A worker as a user writes it: one job, reported on through the SDK, until it is told to stop.
WORKER = """
import sys, time
from milepost import Milepost, MilepostError
mp = Milepost(sys.argv[1], token=sys.argv[2])
with mp.job(sys.argv[3], title="A long one", owner="u7", total=1000000) as job:
    for number in range(1000000):
        job.advance(message=f"step {number}")
        print(number, flush=True)
        time.sleep(0.05)
"""


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def hub(request: pytest.FixtureRequest, new_store: Callable[[str], str], tmp_path: Path) -> Iterator[Server]:
    """A hub with a short lease, on each engine."""
    server = Server(tmp_path, engine=new_store(request.param), lease_seconds=LEASE, grace_seconds=GRACE)
    server.start()
    yield server
    server.close()


@pytest.fixture
def worker(hub: Server) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own that has begun its job."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, hub.url, token("worker", scope="produce"), "job-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "5":
        assert process.poll() is None, process.communicate()[1]
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=10)


def _until(hub: Server, state: str) -> float:
    """When the reader's stream shows the job in this state, on the monotonic clock."""
    until = time.monotonic() + 20
    with hub.someone("u7").stream("/jobs/job-1/stream") as stream:
        while True:
            event = stream.next(max(0.0, until - time.monotonic()))
            if event.name == "job" and event.json["job"]["state"] == state:
                return time.monotonic()


def test_a_killed_workers_job_stalls_within_a_second_of_its_lease_and_then_fails(
    hub: Server, worker: subprocess.Popen[str]
) -> None:
    """SIGKILL: stalled ≤ 1 s after the lease, failed with GENERATOR_TIMEOUT ≤ 1 s after the grace."""
    worker.kill()
    killed = time.monotonic()
    stalled = _until(hub, "stalled") - killed
    assert stalled <= LEASE + LATE
    failed = _until(hub, "failed") - killed
    assert failed <= LEASE + GRACE + LATE + 0.5
    job = hub.someone("u7").get("/jobs/job-1")["job"]
    assert job["error"]["code"] == "GENERATOR_TIMEOUT"


def test_a_zombies_updates_are_refused(hub: Server, worker: subprocess.Popen[str]) -> None:
    """SIGSTOP for longer than lease and grace: the job fails; the woken worker's updates get 409, and it ends."""
    os.kill(worker.pid, signal.SIGSTOP)
    _until(hub, "failed")
    before = hub.someone("u7").get("/jobs/job-1")["job"]
    worker_token = hub.someone("worker", scope="produce")
    answer = worker_token.call("PATCH", "/jobs/job-1", {"current": 999})
    assert (answer.status_code, answer.json()["code"]) == (409, "job_ended")
    os.kill(worker.pid, signal.SIGCONT)
    time.sleep(1.0)  # what the woken worker sends in this time is what must not count
    after = hub.someone("u7").get("/jobs/job-1")["job"]
    assert (after["state"], after["rev"], after["current"]) == ("failed", before["rev"], before["current"])


def test_a_stalled_job_goes_on_when_its_worker_wakes_in_time(hub: Server, worker: subprocess.Popen[str]) -> None:
    """SIGSTOP for longer than the lease only: stalled, and running again with the next report."""
    os.kill(worker.pid, signal.SIGSTOP)
    _until(hub, "stalled")
    os.kill(worker.pid, signal.SIGCONT)
    _until(hub, "running")
