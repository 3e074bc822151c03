"""The page: the form and its files, uploads, requests into the queue, downloads to their owner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from milepost import AsyncMilepost

from ..stage.pages import Templates, TooLarge, assets, body, refused
from ..stage.site import Site
from ..stage.visitors import NOT_SIGNED_IN, Visitors
from ..stage.workqueue import Request as Work
from ..stage.workqueue import WorkQueue
from .cases import FILE_LIMIT, BadCase, case_from_file
from .forms import PACES, request_from_form
from .planning import CATALOGUE, CUSTOM
from .storage import FULL, Storage

HERE: Final = Path(__file__).parent
SAMPLES: Final = {
    "case.csv": "text/csv",
    "case.json": "application/json",
    "custom.html": "text/plain",
    "broken.html": "text/plain",
}
BODY_LIMIT: Final = 2 * FILE_LIMIT  # a case and a template


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
        self._sample = case_from_file("case.json", (HERE / "sample" / "case.json").read_bytes())

    def application(self) -> Starlette:
        """All routes of the page."""
        return Starlette(
            routes=[
                Route("/", self.page),
                *assets(HERE / "page", HERE / "built"),
                Route("/sample/{name}", self.sample),
                Route("/session", self._visitors.session, methods=["POST"]),
                Route("/sign-out", self._visitors.sign_out, methods=["POST"]),
                Route("/case", self.read_case, methods=["POST"]),
                Route("/jobs", self.submit, methods=["POST"]),
                Route("/jobs/{job}/cancel", self.cancel, methods=["POST"]),
                Route("/files/{job}/{name}", self.download),
            ]
        )

    async def page(self, request: Request) -> Response:
        """The page, with the sample case in its form, for a visitor who is signed in by it."""
        visitor = self._visitors.welcome(request)
        response = self._templates.page(
            "index.html",
            visitor=visitor,
            case=self._sample,
            catalogue=CATALOGUE,
            custom=CUSTOM,
            paces=PACES,
            full=FULL.exists(),
        )
        self._visitors.sign_in(request, response, visitor)
        return response

    async def sample(self, request: Request) -> Response:
        """A sample file, to look at or to start from."""
        name = request.path_params["name"]
        media_type = SAMPLES.get(name)
        if media_type is None:
            return refused(404, "There is no such sample.")
        return FileResponse(HERE / "sample" / name, media_type=media_type)

    async def read_case(self, request: Request) -> Response:
        """An uploaded file (``?name=``, its bytes as the body) as the fields of the form, or what is wrong with it."""
        try:
            name, data = request.query_params.get("name", ""), await body(request, BODY_LIMIT)
            case = await run_in_threadpool(case_from_file, name, data)
        except BadCase as bad:
            return refused(422, *bad.problems)
        except TooLarge as large:
            return refused(422, str(large))
        return JSONResponse(case.to_json())

    async def submit(self, request: Request) -> Response:
        """Puts a request into the queue, then creates its job: 202 with the job's id. The same key is the same job."""
        visitor = self._visitors.known(request)
        if visitor is None:
            return refused(401, NOT_SIGNED_IN)
        try:
            # Files and checks in a thread: the hub's streams run in this loop, and must not wait for a disk.
            work = await run_in_threadpool(request_from_form, visitor, json.loads(await body(request, BODY_LIMIT)))
        except BadCase as bad:
            return refused(422, *bad.problems)
        except TooLarge as large:
            return refused(422, str(large))
        except (ValueError, RecursionError):
            return refused(422, "This is not JSON.")
        # The job first, so that a job in the queue is always known to the hub. Should we end in between, the page sends
        # the form again under the same key, and finds the same job still queued.
        if await run_in_threadpool(self._queue.find, work.id) is None:
            await self._milepost.start_job(work.id, kind="document", title=work.title, owner=visitor, notify=True)
            await run_in_threadpool(self._queue.submit, work)
        return JSONResponse({"job_id": work.id}, status_code=202)

    async def cancel(self, request: Request) -> Response:
        """Cancels a job of the visitor's own, queued or under way."""
        work = await self._own(request)
        if work is None:
            return refused(404, "There is no such job.")
        self._queue.withdraw(work.id)
        await self._milepost.cancel(work.id, reason="Cancelled on the page")
        return Response(status_code=204)

    async def download(self, request: Request) -> Response:
        """A finished file, to the visitor who asked for it and to nobody else."""
        work = await self._own(request)
        path = Storage(self._site.files, work.id).find(request.path_params["name"]) if work else None
        if path is None:
            return refused(404, "There is no such file.")
        return FileResponse(path, filename=path.name, headers={"cache-control": "private, no-cache"})

    async def _own(self, request: Request) -> Work | None:
        visitor = self._visitors.known(request)
        return await run_in_threadpool(self._queue.find_own, request.path_params["job"], visitor)
