"""The page's server: the form and its assets, uploads, requests into the queue, downloads to their owner.

It stands around the hub, so that the browser has one origin: what is the hub's goes there, all else is answered here.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost import AsyncMilepost
from milepost.server import create_app
from milepost.server.run import Server
from milepost.settings import Settings

from .cases import FILE_LIMIT, BadCase, case_from_file
from .forms import PACES, request_from_form
from .planning import CATALOGUE, CUSTOM
from .storage import FULL, Storage
from .visitors import Visitors
from .worker import service_token
from .workqueue import Request as Work
from .workqueue import WorkQueue

HERE: Final = Path(__file__).parent
ASSETS: Final = {
    "/app.css": "text/css",
    "/form.css": "text/css",
    "/jobs.css": "text/css",
    "/app.js": "text/javascript",
    "/icon.svg": "image/svg+xml",
}
SAMPLES: Final = {
    "case.csv": "text/csv",
    "case.json": "application/json",
    "custom.html": "text/plain",
    "broken.html": "text/plain",
}
HUB_PATHS: Final = ("/api", "/milepost.", "/healthz", "/readyz", "/metrics", "/dashboard")

# Everything comes from here and nothing runs that is not a file of ours: a name with a tag in it stays a name.
SECURITY: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Site:
    """What the page's server needs: the hub's address and secret, and the folders it shares with the worker."""

    url: str
    secret: str
    queue: Path
    output: Path
    token_seconds: float = 3600.0


def serve(site: Site, *, fd: int) -> None:
    """Hub and page on a socket that listens already, until SIGTERM. The engine is that of MILEPOST_ENGINE."""
    listener = socket.socket(fileno=fd)
    host, port = listener.getsockname()[:2]
    hub = create_app(Settings.load(secret=site.secret, host=host, port=port))
    config = uvicorn.Config(
        create_site(site, hub), ws="none", access_log=False, log_level="warning", timeout_graceful_shutdown=5
    )
    Server(config, hub.services).run(sockets=[listener])


def create_site(site: Site, hub: ASGIApp) -> ASGIApp:
    """Page and hub as one application on one origin. The hub's lifespan is the whole's."""
    pages = _Pages(site).application()

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(HUB_PATHS):
            await hub(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        await pages(scope, receive, guarded)

    return both


class _Pages:
    """The routes. Every answer to a script is JSON; a refusal is ``{"problems": [sentence, …]}``."""

    def __init__(self, site: Site) -> None:
        self._queue = WorkQueue(site.queue)
        self._output = site.output
        self._visitors = Visitors(site.secret, token_seconds=site.token_seconds)
        self._milepost = AsyncMilepost(site.url, token=service_token(site.secret))
        folder = FileSystemLoader(HERE / "page")
        self._templates = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self._sample = case_from_file("case.json", (HERE / "sample" / "case.json").read_bytes())

    def application(self) -> Starlette:
        """All routes of the page."""
        return Starlette(
            routes=[
                Route("/", self.page),
                *(Route(path, self.asset) for path in ASSETS),
                Route("/sample/{name}", self.sample),
                Route("/session", self.session, methods=["POST"]),
                Route("/sign-out", self.sign_out, methods=["POST"]),
                Route("/case", self.read_case, methods=["POST"]),
                Route("/documents", self.submit, methods=["POST"]),
                Route("/documents/{job}/cancel", self.cancel, methods=["POST"]),
                Route("/files/{job}/{name}", self.download),
            ]
        )

    async def page(self, request: Request) -> Response:
        """The page, with the sample case in its form, for a visitor who is signed in by it."""
        response = Response(media_type="text/html", headers={"cache-control": "no-store"})
        visitor = self._visitors.sign_in(response, self._visitors.known(request), secure=_is_https(request))
        html = self._templates.get_template("index.html").render(
            visitor=visitor, case=self._sample, catalogue=CATALOGUE, custom=CUSTOM, paces=PACES, full=FULL.exists()
        )
        response.body = response.render(html)
        response.headers["content-length"] = str(len(response.body))
        return response

    async def asset(self, request: Request) -> Response:
        """The page's own script, style and icon."""
        path = request.url.path
        return FileResponse(HERE / "page" / path[1:], media_type=ASSETS[path], headers={"cache-control": "no-cache"})

    async def sample(self, request: Request) -> Response:
        """A sample file, to look at or to start from."""
        name = request.path_params["name"]
        media_type = SAMPLES.get(name)
        if media_type is None:
            return _refused(404, "There is no such sample.")
        return FileResponse(HERE / "sample" / name, media_type=media_type)

    async def session(self, request: Request) -> Response:
        """A new token for the hub, for a visitor who is known."""
        visitor = self._visitors.known(request)
        if visitor is None:
            return _refused(401, "You are not signed in; load the page again.")
        if not _same_origin(request):
            return _refused(403, "This must come from our own page.")
        response = Response(status_code=204)
        self._visitors.sign_in(response, visitor, secure=_is_https(request))
        return response

    async def sign_out(self, request: Request) -> Response:
        """Forgets the visitor in this browser; the next look is another visitor's."""
        if not _same_origin(request):
            return _refused(403, "This must come from our own page.")
        response = RedirectResponse("/", status_code=303)
        self._visitors.sign_out(response)
        return response

    async def read_case(self, request: Request) -> Response:
        """An uploaded file (``?name=``, its bytes as the body) as the fields of the form, or what is wrong with it."""
        try:
            name, data = request.query_params.get("name", ""), await _body(request)
            case = await run_in_threadpool(case_from_file, name, data)
        except BadCase as bad:
            return _refused(422, *bad.problems)
        return JSONResponse(case.to_json())

    async def submit(self, request: Request) -> Response:
        """Puts a request into the queue, then creates its job: 202 with the job's id. The same key is the same job."""
        visitor = self._visitors.known(request)
        if visitor is None:
            return _refused(401, "You are not signed in; load the page again.")
        if not _same_origin(request):
            return _refused(403, "This must come from our own page.")
        try:
            # Files and checks in a thread: the hub's streams run in this loop, and must not wait for a disk.
            work = await run_in_threadpool(request_from_form, visitor, json.loads(await _body(request)))
        except BadCase as bad:
            return _refused(422, *bad.problems)
        except (ValueError, RecursionError):
            return _refused(422, "This is not JSON.")
        # The job first, so that a job in the queue is always known to the hub. Should we end in between, the page sends
        # the form again under the same key, and finds the same job still queued.
        if await run_in_threadpool(self._queue.find, work.id) is None:
            await self._milepost.start_job(work.id, kind="document", title=work.title, owner=visitor, notify=True)
            await run_in_threadpool(self._queue.submit, work)
        return JSONResponse({"job_id": work.id}, status_code=202)

    async def cancel(self, request: Request) -> Response:
        """Cancels a job of the visitor's own, queued or under way."""
        work = self._own(request)
        if work is None:
            return _refused(404, "There is no such job.")
        if not _same_origin(request):
            return _refused(403, "This must come from our own page.")
        self._queue.withdraw(work.id)
        await self._milepost.cancel(work.id, reason="Cancelled on the page")
        return Response(status_code=204)

    async def download(self, request: Request) -> Response:
        """A finished file, to the visitor who asked for it and to nobody else."""
        work = self._own(request)
        path = Storage(self._output, work.id).find(request.path_params["name"]) if work else None
        if path is None:
            return _refused(404, "There is no such file.")
        return FileResponse(path, filename=path.name, headers={"cache-control": "private, no-cache"})

    def _own(self, request: Request) -> Work | None:
        visitor = self._visitors.known(request)
        work = self._queue.find(request.path_params["job"])
        return work if work and visitor == work.owner else None


async def _body(request: Request) -> bytes:
    """The body, within what a case and a template can need. Raises BadCase."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > 2 * FILE_LIMIT:
            raise BadCase([f"This is larger than {2 * FILE_LIMIT // 1024} KiB."])
    return bytes(data)


def _same_origin(request: Request) -> bool:
    """Whether a request that changes something is our own page's. A program sends no Origin and no stolen cookie."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


def _refused(status: int, *problems: str) -> Response:
    body: Mapping[str, Any] = {"problems": problems}
    return JSONResponse(body, status_code=status)
