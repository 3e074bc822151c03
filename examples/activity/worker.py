"""The worker: reads a document paragraph by paragraph, and keeps what it finds in the register."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from milepost.client.sync import Reporter
from milepost.errors import Conflict, JobCancelled, MilepostError
from milepost.model import Level

from ..stage.site import Site
from ..stage.work import KEEP_SECONDS, Desk, deadline
from ..stage.workqueue import Claim, Request
from . import analysis, comparing
from .analysis import Analysis
from .comparing import Comparison, NoEarlierVersion, pairs
from .reading import Paragraph, paragraphs_of
from .register import Register

SECONDS: Final = 20.0  # for a step: a text can be made so that reading or matching it takes for ever
SLOW_SECONDS: Final = 90.0  # what a pace may add to a long document, in all
SECTION: Final = 80  # characters of a heading, in a job's message
DONE: Final = {"analyse": "analysed", "compare": "compared"}
SUMMARIES: Final = {"analyse": analysis.summary, "compare": comparing.summary}


class Deleted(Exception):
    """The document is no more; the message is a sentence."""

    milepost_code = "DOCUMENT_DELETED"


def run(claim: Claim, desk: Desk) -> None:
    """Works one request off as its job. Raises MilepostError where the hub cannot be told."""
    request = claim.request
    kind = request.wish["kind"]

    def do(job: Reporter) -> None:
        register = Register(desk.site.folder)
        try:
            result = WORK[kind](job, request, register)
            summary = SUMMARIES[kind](result)
            register.keep(request.job_id, summary, result)
        except (JobCancelled, MilepostError):
            raise
        except Exception as error:
            _tell(desk, request, level="error", title=f"{request.title} failed", message=str(error))
            raise
        # Before the job's end, and under a name of its own: a worker that is lost in between tells it once.
        _tell(desk, request, level="success", title=f"{request.wish['name']}: {DONE[kind]}", message=summary)
        job.advance(0, message=summary)
        job.complete(output_url=_link(request, desk.site), result={"summary": summary})

    desk.report(claim, kind, do)


def forget(_request: Request, site: Site) -> None:
    """Deletes the documents with which nobody has done anything since: what a job found goes with its document."""
    Register(site.folder).forget(KEEP_SECONDS)


def analyse(job: Reporter, request: Request, register: Register) -> dict[str, Any]:
    """What can be told of one version. Raises Unreadable, Empty, Deleted, JobCancelled."""
    job.advance(current=0, message="Opening the document")
    paragraphs = _paragraphs(register, request, request.wish["version"])
    found = Analysis()
    steps = Steps(job, len(paragraphs), request.pace)
    for paragraph in paragraphs:
        with deadline(SECONDS, f"Reading paragraph {paragraph.number}"):
            found.read(paragraph)
        steps.done(_place(paragraph), found.counters)
    return found.result()


def compare(job: Reporter, request: Request, register: Register) -> dict[str, Any]:
    """What changed since the version before. Raises NoEarlierVersion, Unreadable, Empty, Deleted, TimeoutError."""
    later = request.wish["version"]
    if later < 2:
        raise NoEarlierVersion
    job.advance(current=0, message=f"Opening versions {later - 1} and {later}")
    before, after = (
        [paragraph.text for paragraph in _paragraphs(register, request, version)] for version in (later - 1, later)
    )
    with deadline(SECONDS, "Matching the two versions"):
        matched = pairs(before, after)
    found = Comparison(later - 1, later)
    steps = Steps(job, len(matched), request.pace)
    for pair in matched:
        with deadline(SECONDS, f"Comparing paragraph {pair.number}"):
            found.take(pair)
        steps.done(f"Paragraph {pair.number}", found.counters)
    return found.result()


class Steps:
    """Counts what is done, and waits after each step where the visitor wants to watch."""

    def __init__(self, job: Reporter, total: int, pace: float) -> None:
        self._job = job
        self._total = total
        self._done = 0
        self._pause = min(pace, SLOW_SECONDS / total)

    def done(self, message: str, counters: dict[str, float]) -> None:
        """One more. Raises JobCancelled."""
        if self._pause:
            time.sleep(self._pause)  # the visitor's wish, 0 at full speed
        self._done += 1
        self._job.advance(current=self._done, total=self._total, message=message, counters=counters)


WORK: Final[dict[str, Callable[[Reporter, Request, Register], dict[str, Any]]]] = {
    "analyse": analyse,
    "compare": compare,
}


def _paragraphs(register: Register, request: Request, version: int) -> list[Paragraph]:
    file = register.file(request.owner, request.wish["document"], version)
    if file is None:
        raise Deleted("The document has been deleted meanwhile.")
    with deadline(SECONDS, "Reading the document"):
        return paragraphs_of(file)


def _place(paragraph: Paragraph) -> str:
    section = paragraph.section[:SECTION]
    return f"{section}: paragraph {paragraph.number}" if section else f"Paragraph {paragraph.number}"


def _link(request: Request, site: Site) -> str:
    return f"{site.prefix}/documents/{request.wish['document']}#{request.wish['kind']}"


def _tell(desk: Desk, request: Request, *, level: Level, title: str, message: str) -> None:
    """The owner's notification, with what lets the pages find what it is about."""
    failed = level == "error"
    with contextlib.suppress(Conflict):  # told by a worker that was lost before it could end the job
        desk.milepost(request.tenant).notify(
            request.owner,
            id=f"{request.job_id}-end",
            title=title,
            message=message,
            level=level,
            href=f"{desk.site.prefix}/jobs/{request.job_id}" if failed else _link(request, desk.site),
            context={"document_id": request.wish["document"], "job_id": request.job_id},
        )
