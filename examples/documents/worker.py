"""The worker: takes a case and what is wanted of it from the queue, and makes PDFs."""

from __future__ import annotations

import time
from typing import Final, Protocol

from milepost.client.sync import Reporter

from ..stage.site import Site
from ..stage.work import Desk, deadline
from ..stage.workqueue import Claim, Request
from .cases import case_from_object
from .planning import KINDS, Document, number_of_steps
from .storage import Storage, zip_name
from .templating import Templates
from .typesetting import typeset

DOCUMENT_SECONDS: Final = 20.0  # a visitor's template may loop for ever; nothing of ours takes a second


def run(claim: Claim, desk: Desk) -> None:
    """Works one request off as its job. Raises MilepostError where the hub cannot be told."""
    request, site = claim.request, desk.site

    def do(job: Reporter) -> None:
        storage = Storage(site.files, request.id, target=request.wish["target"])
        steps = Steps(job, request.pace)
        pages, made = make(request, storage, steps)
        steps.end(f"{_counted(pages, 'page')} in {_counted(made, 'document')}")
        job.complete(
            output_url=f"{site.prefix}/files/{request.id}/{zip_name(request)}",
            result={"pages": pages, "documents": made},
        )

    desk.report(claim, "document", do)


def forget(request: Request, site: Site) -> None:
    """Deletes what was made of an old request."""
    Storage(site.files, request.id).delete()


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
    case = case_from_object(request.wish["case"])
    documents: list[Document] = []
    kinds = request.wish["kinds"]
    for kind in kinds:
        steps.begin(f"Planning: {KINDS[kind].label}")
        documents += KINDS[kind].expand(case)
    total = number_of_steps(kinds, documents)  # known only now that the case was read
    templates = Templates(request.wish["template"])
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
