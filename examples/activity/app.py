"""The pages: all of them work without a script, and are read again in part when something has happened."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from milepost import AsyncMilepost
from milepost.errors import Conflict, MilepostError, NotFound

from ..stage.pages import Templates, TooLarge, assets, body, refused
from ..stage.site import Site
from ..stage.visitors import Visitors
from ..stage.workqueue import Request as Work
from ..stage.workqueue import WorkQueue, request_id
from .hub import Away, Feed, Hub
from .register import FILE_LIMIT, Document, Refused, Register
from .uploads import Form, form_of

HERE: Final = Path(__file__).parent
BODY_LIMIT: Final = FILE_LIMIT + 16 * 1024  # a file and the rest of its form
PACES: Final = {"0": "Full speed", "0.2": "To watch", "0.8": "Slow"}  # seconds after each paragraph
KINDS: Final = {"analyse": "Analysis", "compare": "Comparison"}
SAMPLES: Final = {
    "services-agreement.md": "Services agreement",
    "services-agreement-amended.md": "Services agreement, as amended",
    "minutes.txt": "Minutes of the trustees",
}
NAME_LENGTH: Final = 80

_TOO_LARGE: Final = f"The file is larger than {FILE_LIMIT // 1024} KiB."
_AWAY: Final = "The hub does not answer. Try again in a moment."

Answer = Callable[[Request, str], Awaitable[Response]]


def application(site: Site) -> Starlette:
    """The pages, below the site's prefix."""
    return _Pages(site).application()


class _Missing(Exception):
    """There is no such page for this visitor."""


class _Refusal(Exception):
    """What a form asks for cannot be done; the message is a sentence."""


class _Pages:
    """The routes. A refusal is a page of sentences, or ``{"problems": [sentence, …]}`` where HTMX asked."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._queue = WorkQueue(site.queue)
        self._visitors = Visitors(site)
        self._register = Register(site.folder)
        self._milepost = AsyncMilepost(site.origin, token=site.service_token())
        self._hub = Hub(site)
        self._templates = Templates(HERE / "page", site)

    def application(self) -> Starlette:
        """All routes of the pages."""
        return Starlette(
            routes=[
                Route("/", self._shown(self.feed)),
                Route("/documents", self._shown(self.documents)),
                Route("/documents", self._done(self.add), methods=["POST"]),
                Route("/documents/{document}", self._shown(self.document)),
                Route("/documents/{document}/versions", self._done(self.add_version), methods=["POST"]),
                Route("/documents/{document}/versions/{number:int}", self._shown(self.version)),
                Route("/documents/{document}/jobs", self._done(self.begin), methods=["POST"]),
                Route("/documents/{document}/delete", self._done(self.delete), methods=["POST"]),
                Route("/jobs", self._shown(self.jobs)),
                Route("/jobs/{job}", self._shown(self.job)),
                Route("/jobs/{job}/cancel", self._done(self.cancel), methods=["POST"]),
                Route("/session", self._visitors.session, methods=["POST"]),
                Route("/sign-out", self._visitors.sign_out, methods=["POST"]),
                *assets(HERE / "page", HERE / "built"),
            ]
        )

    # --- how a page is answered -------------------------------------------------------------------------------------

    def _shown(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """A page, for a visitor who is signed in by it, and stays so as long as any of them is read now and then."""

        async def show(request: Request) -> Response:
            visitor = self._visitors.welcome(request)
            try:
                response = await answer(request, visitor)
            except _Missing:
                response = await self._problem(
                    request, visitor, 404, "There is no such page.", "It may have been deleted."
                )
            self._visitors.sign_in(request, response, visitor)
            return response

        return show

    def _done(self, answer: Callable[[Request, str, Form], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
        """What a form asks for; then the page to which ``answer`` leads."""

        async def do(request: Request) -> Response:
            visitor = self._visitors.known(request)
            if visitor is None:
                return await self._problem(request, "", 401, "You are not signed in.", "Load the page again.")
            try:
                sent = await body(request, BODY_LIMIT)
                form = await run_in_threadpool(form_of, request.headers.get("content-type", ""), sent)
                path = await answer(request, visitor, form)
            except TooLarge:
                return await self._problem(request, visitor, 413, "That was refused.", _TOO_LARGE)
            except (_Refusal, Refused) as refusal:
                return await self._problem(request, visitor, 422, "That was refused.", str(refusal))
            except _Missing:
                return await self._problem(
                    request, visitor, 404, "There is no such thing.", "It may have been deleted."
                )
            except MilepostError:
                return await self._problem(request, visitor, 503, "Not now.", _AWAY)
            return RedirectResponse(f"{self._site.prefix}{path}", status_code=303)

        return do

    async def _problem(self, request: Request, visitor: str, status: int, what: str, why: str) -> Response:
        if "hx-request" in request.headers:
            return refused(status, why)
        return await self._page("problem.html", visitor, "", status=status, what=what, why=why)

    async def _page(self, name: str, visitor: str, place: str, *, status: int = 200, **values: Any) -> Response:
        now = dt.datetime.now(dt.UTC)
        # In a thread, like all that takes time: the hub's own loop is this one.
        return await run_in_threadpool(
            self._templates.page, name, status=status, visitor=visitor, place=place, now=now, time=_time, **values
        )

    # --- looking ----------------------------------------------------------------------------------------------------

    async def feed(self, request: Request, visitor: str) -> Response:
        """What happened, the newest first, and what is going on."""
        before = request.query_params.get("before", "")
        try:
            feed: Feed | None = await self._hub.feed(visitor, before)
        except Away:
            feed = None
        except LookupError:
            raise _Missing from None
        jobs = await self._jobs(visitor)
        return await self._page("feed.html", visitor, "feed", feed=feed, jobs=jobs and _live(jobs), before=before)

    async def documents(self, _request: Request, visitor: str) -> Response:
        """All documents of the visitor's, and how to add one."""
        documents = await run_in_threadpool(self._register.all, visitor)
        found: dict[str, dict[str, str]] = {}  # by document and kind: what was found last
        for run in await run_in_threadpool(self._register.runs, visitor):
            if run.summary:
                found.setdefault(run.document, {}).setdefault(run.kind, run.summary)
        return await self._page(
            "documents.html", visitor, "documents", documents=documents, found=found, samples=SAMPLES
        )

    async def document(self, request: Request, visitor: str) -> Response:
        """One document: its versions, the jobs on it, and what they found."""
        document = await self._document(request, visitor)
        runs = await run_in_threadpool(self._register.runs, visitor, document.id)
        jobs = await self._jobs(visitor)
        mine = {run.job for run in runs}
        return await self._page(
            "document.html",
            visitor,
            "documents",
            document=document,
            jobs=jobs and [job for job in jobs if job["id"] in mine][:5],
            analysis=await run_in_threadpool(self._register.found, document.id, "analyse"),
            comparison=await run_in_threadpool(self._register.found, document.id, "compare"),
            paces=PACES,
            key=secrets.token_hex(8),
            samples=SAMPLES,
        )

    async def version(self, request: Request, visitor: str) -> Response:
        """One version as it was uploaded."""
        document, number = request.path_params["document"], request.path_params["number"]
        file = await run_in_threadpool(self._register.file, visitor, document, number)
        if file is None:
            raise _Missing
        headers = {"cache-control": "private, no-cache", "content-disposition": "inline"}
        return Response(file, media_type="text/plain", headers=headers)

    async def jobs(self, _request: Request, visitor: str) -> Response:
        """All jobs of the last week."""
        return await self._page("jobs.html", visitor, "jobs", jobs=await self._jobs(visitor))

    async def job(self, request: Request, visitor: str) -> Response:
        """One job, and what it is doing."""
        job_id = request.path_params["job"]
        run = await run_in_threadpool(self._register.run, visitor, job_id)
        if run is None:
            raise _Missing
        document = await run_in_threadpool(self._register.find, visitor, run.document)
        try:
            job = await self._hub.job(visitor, job_id)
            away = False
        except Away:
            job, away = None, True
        return await self._page(
            "job.html", visitor, "jobs", run=run, job=job, away=away, document=document, kinds=KINDS
        )

    async def _document(self, request: Request, visitor: str) -> Document:
        document = await run_in_threadpool(self._register.find, visitor, request.path_params["document"])
        if document is None:
            raise _Missing
        return document

    async def _jobs(self, visitor: str) -> list[dict[str, Any]] | None:
        """The visitor's jobs, each with its document; None while the hub is away."""
        try:
            jobs = await self._hub.jobs(visitor)
        except Away:
            return None
        runs = {run.job: run for run in await run_in_threadpool(self._register.runs, visitor)}
        return [{**job, "document": runs[job["id"]].document if job["id"] in runs else ""} for job in jobs]

    # --- doing ------------------------------------------------------------------------------------------------------

    async def add(self, _request: Request, visitor: str, form: Form) -> str:
        """A new document from an uploaded file or a sample."""
        name, file = _file_of(form)
        document = await run_in_threadpool(self._register.add, visitor, name, file)
        await self._tell(visitor, document, f"{name} added", "Version 1")
        return f"/documents/{document}"

    async def add_version(self, request: Request, visitor: str, form: Form) -> str:
        """The next version of a document."""
        document = await self._document(request, visitor)
        _, file = _file_of(form)
        number = await run_in_threadpool(self._register.add_version, visitor, document.id, file)
        if number is None:
            raise _Missing
        await self._tell(visitor, document.id, f"{document.name} has a new version", f"Version {number}")
        return f"/documents/{document.id}"

    async def begin(self, request: Request, visitor: str, form: Form) -> str:
        """Puts a job on a document into the queue. The same form twice is the same job."""
        document = await self._document(request, visitor)
        kind, pace, key = form.get("kind"), form.get("pace"), form.get("key")
        if kind not in KINDS or pace not in PACES or not 8 <= len(key) <= 64:
            raise _Refusal("The form is not ours as it stands. Load the page again.")
        work = Work(
            id=request_id("job", visitor, key),
            owner=visitor,
            title=f"{KINDS[kind]} of {document.name}",
            wish={"kind": kind, "document": document.id, "name": document.name, "version": document.newest.number},
            pace=float(pace),
            tenant=self._site.name,
        )
        if await run_in_threadpool(self._queue.find, work.id) is None:
            await run_in_threadpool(self._register.ask, work.id, document.id, kind, document.newest.number)
            # The worker tells its end, with the document's id: a page of that document then reads itself again.
            await self._milepost.start_job(work.id, kind=kind, title=work.title, owner=visitor, notify=False)
            await run_in_threadpool(self._queue.submit, work)
        return f"/documents/{document.id}"

    async def delete(self, request: Request, visitor: str, _form: Form) -> str:
        """Removes a document with everything that was found in it."""
        document = await self._document(request, visitor)
        for run in await run_in_threadpool(self._register.runs, visitor, document.id):
            await self._cancel(run.job)
        await run_in_threadpool(self._register.delete, visitor, document.id)
        await self._tell(visitor, document.id, f"{document.name} deleted", "", gone=True)
        return "/documents"

    async def cancel(self, request: Request, visitor: str, _form: Form) -> str:
        """Cancels a job of the visitor's own, queued or under way."""
        job = request.path_params["job"]
        if await run_in_threadpool(self._register.run, visitor, job) is None:
            raise _Missing
        await self._cancel(job)
        return f"/jobs/{job}"

    async def _cancel(self, job: str) -> None:
        await run_in_threadpool(self._queue.withdraw, job)
        with suppress(Conflict, NotFound):  # it was quicker, or the hub has forgotten it
            await self._milepost.cancel(job, reason="Cancelled on the page")

    async def _tell(self, visitor: str, document: str, title: str, message: str, *, gone: bool = False) -> None:
        """An entry of the feed. It is done already: a hub that is away only misses it."""
        with suppress(MilepostError):
            await self._milepost.notify(
                visitor,
                title=title,
                message=message,
                level="info",
                href=None if gone else f"{self._site.prefix}/documents/{document}",
                context={"document_id": document},
            )


def _file_of(form: Form) -> tuple[str, bytes]:
    """A name and the bytes. Raises _Refusal."""
    sample = form.get("sample")
    if form.file is None and sample in SAMPLES:
        return SAMPLES[sample], (HERE / "sample" / sample).read_bytes()
    if form.file is None:
        raise _Refusal("Choose a file first.")
    if len(form.file) > FILE_LIMIT:
        raise _Refusal(_TOO_LARGE)
    stem = re.sub(r"\.(txt|md|markdown|text)$", "", form.file_name, flags=re.IGNORECASE)
    name = re.sub(r"[\s\x00-\x1f\x7f]+", " ", form.get("name") or stem).strip()[:NAME_LENGTH]
    return name or "Untitled", form.file


def _live(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [job for job in jobs if job["state"] in {"queued", "running", "stalled"}]


def _time(moment: float | str | dt.datetime) -> dt.datetime:
    """Any of the times that a page shows: of the register, of the hub, of now."""
    if isinstance(moment, str):
        return dt.datetime.fromisoformat(moment)
    return moment if isinstance(moment, dt.datetime) else dt.datetime.fromtimestamp(moment, dt.UTC)
