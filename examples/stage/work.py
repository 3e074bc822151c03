"""A worker: a process of its own that takes requests from an example's queue and does them, one at a time.

Nothing here waits but for work, or because the visitor asked for a slower pace.
"""

from __future__ import annotations

import contextlib
import importlib
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from milepost import Milepost
from milepost.client.sync import Reporter
from milepost.errors import Conflict, JobCancelled, MilepostError

from .site import Site
from .workqueue import ATTEMPTS, Claim, WorkQueue

KEEP_SECONDS: Final = 7 * 86_400.0  # as long as the hub keeps the job
MEMORY_BYTES: Final = 2 * 1024**3  # of addresses: what asks for more is in error, not the machine
LOOK_SECONDS: Final = 1.0  # how soon an idle worker finds a request that a dead one left


class WorkerLost(Exception):
    """The request ended its worker's process again and again."""

    milepost_code = "UNEXPECTED"


def work(site: Site) -> None:
    """Takes request after request, until the process is ended.

    The example's module ``worker`` says how: ``run(claim, desk)`` works one request off and ends its job, raising
    MilepostError only, where the hub cannot be told; ``forget(request, site)`` deletes what was made of an old one.
    """
    with contextlib.suppress(ValueError, OSError):  # some systems have no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    worker = importlib.import_module(f"..{site.name}.worker", __package__)
    queue = WorkQueue(site.queue)
    desk = Desk(site)
    while True:
        claim = queue.claim()
        if claim is None:
            for request in queue.forget(KEEP_SECONDS):
                worker.forget(request, site)
            queue.wait(LOOK_SECONDS)
            continue
        try:
            if not claim.withdrawn:
                worker.run(claim, desk)
        except MilepostError as error:
            # The hub cannot be told: the request stays, and whoever is free when the hub is back takes it.
            sys.stderr.write(f"{site.name}: {claim.request.id}: {error}\n")
            claim.give_back()
            queue.wait(LOOK_SECONDS)
        else:
            claim.finish()


class Desk:
    """Where a worker reports: the hub, in the name of the example, for each of its tenants."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._lines: dict[str, Milepost] = {}

    def milepost(self, tenant: str) -> Milepost:
        """The hub, as this tenant's producer."""
        if tenant not in self._lines:
            self._lines[tenant] = Milepost(self.site.origin, token=self.site.service_token(tenant))
        return self._lines[tenant]

    def report(self, claim: Claim, kind: str, do: Callable[[Reporter], None]) -> None:
        """Does a request as its job, which ends with it: completed, or failed with what ``do`` raised.

        A fault of the work ends its job, not the worker. Raises MilepostError where the hub cannot be told.
        """
        request = claim.request
        try:
            # Enters the job that the page has created, or that a worker before us left in the middle.
            # Of an ended one (cancelled just now, or completed by a worker that died before it could say so here) it
            # would begin another attempt; a request is worth one.
            with self.milepost(request.tenant).job(
                request.job_id,
                kind=kind,
                title=request.title,
                owner=request.owner,
                notify=True,
                attempt=request.attempt,
            ) as job:
                if claim.attempt > ATTEMPTS:
                    raise WorkerLost(f"The worker was lost {ATTEMPTS} times at this request.")
                do(job)
        except (JobCancelled, Conflict):
            return  # the job has ended otherwise; nobody waits for this any more
        except MilepostError:
            raise
        except Exception as error:  # noqa: BLE001 - the next request must not suffer from this one
            # The SDK has reported it as the job's error.
            sys.stderr.write(f"{self.site.name}: {request.id}: {type(error).__name__}: {error}\n")


@contextlib.contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """Raises TimeoutError in the block when it takes longer. Main thread only: it is the alarm signal."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"{what} took longer than {seconds:g} seconds.")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
