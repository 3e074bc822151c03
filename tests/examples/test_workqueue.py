"""The queue between page and worker, with real processes and real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples.stage.workqueue import Request, WorkQueue

ROOT = Path(__file__).parents[2]
CLAIMER = """
import sys, signal
from pathlib import Path
from examples.stage.workqueue import WorkQueue
claim = WorkQueue(Path(sys.argv[1])).claim()
print(claim.request.id, claim.attempt, flush=True)
signal.pause()
"""


@pytest.fixture(name="queue")
def fixture_queue(tmp_path: Path) -> Iterator[WorkQueue]:
    """An empty queue."""
    queue = WorkQueue(tmp_path)
    yield queue
    queue.close()


def request(name: str) -> Request:
    """Some request."""
    return Request(name, "u1", "Title", {"court": "x"})


def test_oldest_first_and_each_to_one_worker(queue: WorkQueue) -> None:
    """Two claims never hold the same request, and what is finished is not worked on again."""
    for name in ("c", "a", "b"):
        assert queue.submit(request(name))
        time.sleep(0.01)  # the order is that of the file's time
    claims = [queue.claim(), queue.claim(), queue.claim()]
    assert [claim.request.id for claim in claims if claim] == ["c", "a", "b"]
    assert queue.claim() is None
    for claim in claims:
        assert claim
        claim.finish()
    assert queue.claim() is None
    assert queue.find("a") == claims[1].request if claims[1] else False


def test_the_same_request_twice_is_one(queue: WorkQueue) -> None:
    """A page that sends its form again after a lost answer starts no second job, finished or not."""
    assert queue.submit(request("a"))
    assert not queue.submit(request("a"))
    claim = queue.claim()
    assert claim
    claim.finish()
    assert not queue.submit(request("a"))
    assert queue.claim() is None


def test_many_submit_the_same_at_once(queue: WorkQueue) -> None:
    """Exactly one of them wins."""
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: queue.submit(request("a")), range(32))) == 1


def test_a_killed_worker_leaves_its_request_to_the_next(queue: WorkQueue, tmp_path: Path) -> None:
    """While it lives nobody else gets the request; killed with -9, the next claim has it as attempt 2."""
    queue.submit(request("a"))
    worker = subprocess.Popen(
        [sys.executable, "-c", CLAIMER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with worker:
        assert worker.stdout
        assert worker.stdout.readline() == "a 1\n"
        assert queue.claim() is None
        os.kill(worker.pid, signal.SIGKILL)
    claim = queue.claim()
    assert claim
    assert (claim.request.id, claim.attempt) == ("a", 2)


def test_a_request_given_back_counts_no_attempt(queue: WorkQueue) -> None:
    """A worker that cannot reach the hub has not tried anything yet."""
    queue.submit(request("a"))
    for _ in range(5):
        claim = queue.claim()
        assert claim
        assert claim.attempt == 1
        claim.give_back()


def test_withdrawn_requests_say_so(queue: WorkQueue) -> None:
    """Whoever claims a withdrawn request knows it; withdrawing what is finished or unknown does nothing."""
    queue.submit(request("a"))
    queue.withdraw("a")
    claim = queue.claim()
    assert claim
    assert claim.withdrawn
    claim.finish()
    queue.withdraw("a")
    queue.withdraw("nobody")


def test_a_request_wakes_a_waiting_worker(queue: WorkQueue, tmp_path: Path) -> None:
    """The bell ends the wait at once; without one it ends by itself."""
    other = WorkQueue(tmp_path)
    started = time.monotonic()
    timer = threading.Timer(0.05, queue.submit, [request("a")])
    timer.start()
    other.wait(10)
    assert time.monotonic() - started < 5
    assert other.claim()
    other.wait(0.01)
    timer.join()
    other.close()


def test_ids_never_leave_the_folder(queue: WorkQueue) -> None:
    """A path is no id."""
    for name in ("../a", "..", "a/b", "", "a\0b", "x" * 129):
        assert queue.find(name) is None
    with pytest.raises(ValueError, match="not an id"):
        queue.submit(request("../a"))


def test_old_requests_are_forgotten(queue: WorkQueue, tmp_path: Path) -> None:
    """Only what was finished long enough ago goes."""
    for name in ("a", "b"):
        queue.submit(request(name))
        claim = queue.claim()
        assert claim
        claim.finish()
    os.utime(tmp_path / "finished" / "a", (0, 0))
    assert [request.id for request in queue.forget(60)] == ["a"]
    assert queue.find("a") is None
    assert queue.find("b")
