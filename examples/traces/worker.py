"""The worker: counts the lines of a file, then reads them into the database, all of them or none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from milepost.client.sync import Reporter
from milepost.errors import Conflict, JobCancelled

from ..stage.site import Site
from ..stage.work import Desk
from ..stage.workqueue import Claim, Request
from .spans import LINE_LIMIT, BadRow, spans_of
from .store import Store
from .uploads import upload_of

BATCH: Final = 50  # lines, at least; a large file has as many batches as BATCHES
BATCHES: Final = 40
CHUNK: Final = 64 * 1024  # bytes, at least, that are counted at once
CHUNKS: Final = 4


class NoSpans(Exception):
    """There was nothing in the file."""

    milepost_code = "IMPORT_EMPTY"


def run(claim: Claim, desk: Desk) -> None:
    """Works one request off as its job. Raises MilepostError where the hub cannot be told."""
    request, site = claim.request, desk.site

    def do(job: Reporter) -> None:
        store = Store(site.folder)
        try:
            import_file(upload_of(site, request.id), request, store, job)
        except (BadRow, NoSpans) as bad:
            # Told here and not raised: what stands in somebody's file is for them, and for no log.
            job.fail(bad.milepost_code, str(bad), {"line": bad.line} if isinstance(bad, BadRow) else None)
        finally:
            store.close()

    desk.report(claim, "import", do)
    upload_of(site, request.id).unlink(missing_ok=True)


def forget(request: Request, site: Site) -> None:
    """Deletes what is left of an old request."""
    upload_of(site, request.id).unlink(missing_ok=True)
    store = Store(site.folder)
    try:
        store.delete(request.id)
    finally:
        store.close()


def import_file(path: Path, request: Request, store: Store, job: Reporter) -> None:
    """Reads the file and completes the job with what was in it. Raises BadRow, NoSpans, OSError, JobCancelled."""
    steps = _Steps(job, request.pace)
    total = _count_lines(path, steps)
    _read_lines(path, total, store, steps)
    if not steps.counters["spans"]:
        raise NoSpans("There is no span in this file.")
    steps.tell(current=total, message="Writing to the database")
    summary = store.publish(request.id, owner=request.owner, name=request.title)
    try:
        job.complete(result=summary)
    except Conflict:  # it has ended in this very moment: cancelled, or its deadline
        store.delete(request.id)
        raise


def _count_lines(path: Path, steps: _Steps) -> int:
    lines, last = 0, b"\n"
    size = max(CHUNK, path.stat().st_size // CHUNKS + 1)
    with path.open("rb") as file:
        while data := file.read(size):
            lines += data.count(b"\n")
            last = data
            steps.tell(current=0, message=f"Counting: {lines:,} lines so far")
            steps.pause()
    return lines + (not last.endswith(b"\n"))


def _read_lines(path: Path, total: int, store: Store, steps: _Steps) -> None:
    counters = steps.counters
    size = max(BATCH, -(-total // BATCHES))
    for first, lines in _batches(path, size):
        spans = [span for line, data in enumerate(lines, first) for span in spans_of(line, data)]
        new = store.gather(spans)
        counters["spans"] += new
        counters["repeated"] += len(spans) - new
        counters["errors"] += sum(span.status == "error" for span in spans)
        done = first + len(lines) - 1
        steps.tell(current=done, total=max(total, 1), message=f"Importing: line {done:,} of {total:,}")
        steps.pause()


def _batches(path: Path, size: int) -> Iterator[tuple[int, list[bytes]]]:
    """So many lines at once, and the number of the first of them. A line is never longer than one byte too many."""
    first = 1
    with path.open("rb") as file:
        lines: list[bytes] = []
        while data := file.readline(LINE_LIMIT + 1):
            lines.append(data)
            if len(lines) == size:
                yield first, lines
                first += len(lines)
                lines = []
        if lines:
            yield first, lines


class _Steps:
    """What is told on the way."""

    def __init__(self, job: Reporter, pace: float) -> None:
        self._job = job
        self._pace = pace
        self.counters: dict[str, float] = {"spans": 0, "errors": 0, "repeated": 0}

    def tell(self, **fields: Any) -> None:
        """See ``Reporter.advance``. Raises JobCancelled also when the job's deadline has ended it: nobody waits."""
        self._job.advance(**fields, counters=self.counters)
        if not self._job.is_open:
            raise JobCancelled("The job has ended.")

    def pause(self) -> None:
        """The visitor's wish, 0 at full speed."""
        if self._pace:
            time.sleep(self._pace)
