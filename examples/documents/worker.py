"""The worker: a process of its own that takes requests from the queue and makes PDFs of them.

One process works on one request; two at once are two processes. Progress goes to the hub through the SDK, and nothing
here waits but for work, or because the visitor asked for a slower pace.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from milepost import Milepost
from milepost.auth import issue_token
from milepost.errors import Conflict, JobCancelled, MilepostError

from .cases import case_from_object
from .planning import KINDS, Document, number_of_steps
from .storage import Storage, zip_name
from .templating import Templates
from .typesetting import typeset
from .workqueue import ATTEMPTS, Claim, Request, WorkQueue

SERVICE: Final = "documents"  # who page and worker are to the hub: what the one creates the other may report on
DOCUMENT_SECONDS: Final = 20.0  # a visitor's template may loop for ever; nothing of ours takes a second
KEEP_SECONDS: Final = 7 * 86_400.0  # as long as the hub keeps the job
MEMORY_BYTES: Final = 2 * 1024**3  # of addresses: a template that asks for more is in error, not the machine
LOOK_SECONDS: Final = 1.0  # how soon an idle worker finds a request that a dead one left

_YEAR = 365 * 86_400.0


class WorkerLost(Exception):
    """The request ended its worker's process again and again."""

    milepost_code = "UNEXPECTED"


def service_token(secret: str) -> str:
    """The token with which page and worker report jobs to the hub."""
    return issue_token(secret, user=SERVICE, scope="produce", ttl=_YEAR)


def work(*, url: str, secret: str, queue_folder: Path, output: Path) -> None:
    """Takes request after request, until the process is ended. ``url`` is the hub's; ``output`` is where files go."""
    with contextlib.suppress(ValueError, OSError):  # some systems have no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    queue = WorkQueue(queue_folder)
    with Milepost(url, token=service_token(secret)) as milepost:
        while True:
            claim = queue.claim()
            if claim is None:
                for job_id in queue.forget(KEEP_SECONDS):
                    Storage(output, job_id).delete()
                queue.wait(LOOK_SECONDS)
                continue
            try:
                run(claim, milepost, output)
            except MilepostError as error:
                # The hub cannot be told: the request stays, and whoever is free when the hub is back takes it.
                sys.stderr.write(f"worker: {claim.request.id}: {error}\n")
                claim.give_back()
                queue.wait(LOOK_SECONDS)
            else:
                claim.finish()


def run(claim: Claim, milepost: Milepost, output: Path) -> None:
    """Works one request off. What goes wrong in it ends its job, not the worker; raises MilepostError only."""
    request = claim.request
    if claim.withdrawn:
        return
    try:
        # Enters the job that the page has created, or that a worker before us left in the middle.
        # Of an ended one (cancelled just now, or completed by a worker that died before it could say so here) it would
        # begin the second attempt; a request is worth one.
        with milepost.job(
            request.id, kind="document", title=request.title, owner=request.owner, notify=True, attempt=1
        ) as job:
            if claim.attempt > ATTEMPTS:
                raise WorkerLost(f"The worker was lost {ATTEMPTS} times at this request.")
            storage = Storage(output, request.id, target=request.target)
            steps = Steps(job, request.pace)
            pages, made = make(request, storage, steps)
            steps.end(f"{_counted(pages, 'page')} in {_counted(made, 'document')}")
            url = f"/files/{request.id}/{zip_name(request)}"
            job.complete(output_url=url, result={"pages": pages, "documents": made})
    except (JobCancelled, Conflict):
        return  # the job has ended otherwise; nobody waits for this any more
    except MilepostError:
        raise
    except Exception as error:  # noqa: BLE001 - the next request must not suffer from this one
        # The SDK has reported it as the job's error.
        sys.stderr.write(f"worker: {request.id}: {type(error).__name__}: {error}\n")


class Progress(Protocol):
    """What a step needs of a job."""

    def advance(self, *, current: float, total: float | None = None, message: str) -> None:
        """See ``milepost.Milepost.job``."""


class Steps:
    """Counts what is done and says what comes next, so that the bar is full only when all is done."""

    def __init__(self, job: Progress, pace: float) -> None:
        self._job = job
        self._pace = pace
        self._done = 0

    def begin(self, message: str, *, total: int | None = None) -> None:
        """The step before is done, this one begins. Raises JobCancelled."""
        self._pause()
        self._job.advance(current=self._done, total=total, message=message)
        self._done += 1

    def end(self, message: str) -> None:
        """All is done. Raises JobCancelled."""
        self._pause()
        self._job.advance(current=self._done, message=message)

    def _pause(self) -> None:
        if self._done and self._pace:
            time.sleep(self._pace)  # the visitor's wish, 0 at full speed


def make(request: Request, storage: Storage, steps: Steps) -> tuple[int, int]:
    """Makes every document and the zip of them; the pages and documents made.

    Raises TemplateFault, TimeoutError, OSError, JobCancelled.
    """
    steps.begin("Reading the case")
    case = case_from_object(request.case)
    documents: list[Document] = []
    for kind in request.kinds:
        steps.begin(f"Planning: {KINDS[kind].label}")
        documents += KINDS[kind].expand(case)
    total = number_of_steps(request.kinds, documents)  # known only now that the case was read
    templates = Templates(request.template)
    pages = 0
    for number, document in enumerate(documents, 1):
        of = f"({number} of {len(documents)})"
        steps.begin(f"Generating {document.name} {of}", total=total)
        with deadline(DOCUMENT_SECONDS, document.name):
            html = templates.fill(document, case, documents)
        steps.begin(f"Typesetting {document.name} {of}")
        with deadline(DOCUMENT_SECONDS, document.name):
            pdf, count = typeset(
                html, source=document.template, title=document.name, footer=f"{document.name} · {case.name}"
            )
        steps.begin(f"Saving {document.name} {of}")
        storage.save(document.file_name, pdf)
        pages += count
    steps.begin("Packing the zip")
    storage.zip(zip_name(request), [document.file_name for document in documents])
    return pages, len(documents)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


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
