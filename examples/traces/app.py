"""The page: files in, requests into the queue, and what was imported, read back from the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from milepost import AsyncMilepost

from ..stage.pages import Templates, TooLarge, assets, refused
from ..stage.site import Site
from ..stage.visitors import NOT_SIGNED_IN, Visitors
from ..stage.workqueue import Request as Work
from ..stage.workqueue import WorkQueue, request_id
from .sampling import sample
from .store import Store
from .uploads import receive, upload_of

HERE: Final = Path(__file__).parent
PACES: Final = (0.0, 0.25, 1.0)  # seconds after each step: full speed, to watch, slow
DEADLINES: Final = {"": None, "10": 10.0}  # seconds; without one it is the kind's own
KIND_DEADLINE: Final = 300.0  # what the hub gives an import that names none
NAME_LIMIT: Final = 120
SAMPLES: Final = {"shop.jsonl": False, "shop-mistake.jsonl": True}  # whether it is broken

T = TypeVar("T")


class BadRequest(Exception):
    """What was asked makes no sense; the message is a sentence."""


def application(site: Site) -> Starlette:
    """The pages, below the site's prefix."""
    return _Pages(site).application()


class _Pages:
    """The routes. Every answer to a script is JSON; a refusal is ``{"problems": [sentence, …]}``."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._queue = WorkQueue(site.queue)
        self._visitors = Visitors(site)
        self._milepost = AsyncMilepost(site.origin, token=site.service_token())
        self._templates = Templates(HERE / "page", site)
        Store(site.folder).close()  # made once, before there are workers that would make it at the same time

    def application(self) -> Starlette:
        """All routes of the page."""
        return Starlette(
            routes=[
                Route("/", self.page),
                *assets(HERE / "page", HERE / "built"),
                Route("/sample/{name}", self.sample),
                Route("/session", self._visitors.session, methods=["POST"]),
                Route("/sign-out", self._visitors.sign_out, methods=["POST"]),
                Route("/imports", self.submit, methods=["POST"]),
                Route("/imports", self.imports),
                Route("/imports/{job}", self.about),
                Route("/imports/{job}/cancel", self.cancel, methods=["POST"]),
                Route("/imports/{job}/traces", self.traces),
                Route("/imports/{job}/spans", self.spans),
            ]
        )

    async def page(self, request: Request) -> Response:
        """The page, for a visitor who is signed in by it."""
        visitor = self._visitors.welcome(request)
        response = self._templates.page("index.html", visitor=visitor)
        self._visitors.sign_in(request, response, visitor)
        return response

    async def sample(self, request: Request) -> Response:
        """A sample file, to look at or to import."""
        name = request.path_params["name"]
        if name not in SAMPLES:
            return refused(404, "There is no such sample.")
        data = await run_in_threadpool(sample, broken=SAMPLES[name])
        return Response(data, media_type="application/jsonl", headers={"cache-control": "no-cache"})

    async def submit(self, request: Request) -> Response:
        """A file (the body) into the queue: 202 with the job's id. The same ``?key=`` is the same job."""
        visitor = self._visitors.known(request)
        if visitor is None:
            return refused(401, NOT_SIGNED_IN)
        try:
            asked = _asked(request)
        except BadRequest as bad:
            return refused(422, str(bad))
        job = request_id("import", visitor, asked["key"])
        if await run_in_threadpool(self._queue.find, job) is not None:
            return JSONResponse({"job_id": job}, status_code=202)
        try:
            size = await receive(request.stream(), upload_of(self._site, job))
        except TooLarge as large:
            return refused(422, str(large))
        except ClientDisconnect:  # nobody waits for an answer
            return refused(400, "The file did not arrive as a whole.")
        wish = {"bytes": size, "deadline": asked["deadline"] or KIND_DEADLINE}
        work = Work(id=job, owner=visitor, title=asked["name"], wish=wish, pace=asked["pace"])
        # The job first, so that a job in the queue is always known to the hub. Should we end in between, the page sends
        # the file again under the same key, and finds the same job still queued.
        await self._milepost.start_job(
            job, kind="import", title=work.title, owner=visitor, notify=True, deadline_seconds=asked["deadline"]
        )
        await run_in_threadpool(self._queue.submit, work)
        return JSONResponse({"job_id": job}, status_code=202)

    async def about(self, request: Request) -> Response:
        """What was asked for: name and size of the file, and when at the latest it has to be imported."""
        work = await self._own(request)
        if work is None:
            return refused(404, "There is no such import.")
        return JSONResponse({"id": work.id, "name": work.title, **work.wish})

    async def cancel(self, request: Request) -> Response:
        """Cancels an import of the visitor's own, queued or under way."""
        work = await self._own(request)
        if work is None:
            return refused(404, "There is no such import.")
        self._queue.withdraw(work.id)
        await self._milepost.cancel(work.id, reason="Cancelled on the page")
        await run_in_threadpool(upload_of(self._site, work.id).unlink, missing_ok=True)
        return Response(status_code=204)

    async def imports(self, request: Request) -> Response:
        """What the visitor has imported, newest first."""
        visitor = self._visitors.known(request) or ""
        found = await run_in_threadpool(self._read, lambda store: store.imports(visitor))
        return _answer({"imports": found})

    async def traces(self, request: Request) -> Response:
        """The slowest traces of an import; ``?failed=1``: of those in which something failed."""
        visitor, job = self._visitors.known(request) or "", request.path_params["job"]
        failed = request.query_params.get("failed") == "1"
        found = await run_in_threadpool(self._read, lambda store: store.traces(visitor, job, failed=failed))
        return refused(404, "There is no such import.") if found is None else _answer({"traces": found})

    async def spans(self, request: Request) -> Response:
        """The spans of one of its traces, ``?trace=``."""
        visitor, job = self._visitors.known(request) or "", request.path_params["job"]
        trace = request.query_params.get("trace", "")
        found = await run_in_threadpool(self._read, lambda store: store.trace(visitor, job, trace))
        return _answer({"spans": found}) if found else refused(404, "There is no such trace.")

    def _read(self, look: Callable[[Store], T]) -> T:
        store = Store(self._site.folder)
        try:
            return look(store)
        finally:
            store.close()

    async def _own(self, request: Request) -> Work | None:
        visitor = self._visitors.known(request)
        return await run_in_threadpool(self._queue.find_own, request.path_params["job"], visitor)


def _answer(told: dict[str, Any]) -> Response:
    return JSONResponse(told, headers={"cache-control": "no-store"})


def _asked(request: Request) -> dict[str, Any]:
    """The query of a file that is sent, checked. Raises BadRequest."""
    asked = request.query_params
    key, pace, deadline = asked.get("key", ""), asked.get("pace", "0"), asked.get("deadline", "")
    if not 8 <= len(key) <= 64:
        raise BadRequest("The key must have 8 to 64 characters.")
    if pace not in {f"{one:g}" for one in PACES}:
        raise BadRequest("The speed must be one of those offered.")
    if deadline not in DEADLINES:
        raise BadRequest("The deadline must be one of those offered.")
    name = "".join(character for character in asked.get("name", "") if character.isprintable())
    return {
        "key": key,
        "pace": float(pace),
        "deadline": DEADLINES[deadline],
        "name": name.rpartition("/")[2].strip()[:NAME_LIMIT] or "traces.jsonl",
    }
