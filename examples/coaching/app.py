"""The application's server: accounts, recordings into the queue, results to those they are for, feedback."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from milepost import AsyncMilepost

from ..stage.pages import Templates, TooLarge, assets, body, refused
from ..stage.site import Site
from ..stage.workqueue import Request as Work
from ..stage.workqueue import WorkQueue, request_id
from .coaches import COACHES, Coach, Sessions
from .sample import SAMPLES
from .shelf import PICTURE, SOUND, Shelf
from .wav import BadAudio

HERE: Final = Path(__file__).parent
PACES: Final = (0.0, 0.2, 0.8)  # seconds for each second of audio: full speed, to watch, slow
NOTE_LIMIT: Final = 500  # characters of feedback
TITLE_LIMIT: Final = 120
BODY_LIMIT: Final = 8 * 1024  # of what is not audio
FILES: Final = {SOUND: "audio/wav", PICTURE: "image/svg+xml"}


def application(site: Site) -> Starlette:
    """The pages, below the site's prefix."""
    return _Pages(site).application()


class Refused(Exception):
    """The answer to a request that cannot be met: a status, and a sentence."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


SIGNED_OUT: Final = Refused(401, "You are not signed in.")
NO_SUCH: Final = Refused(404, "There is no such recording.")


class _Pages:
    """The routes. A request that is somebody's carries their token; a refusal is ``{"problems": [sentence, …]}``."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._queue = WorkQueue(site.queue)
        self._shelf = Shelf(site.files)
        self._sessions = Sessions(site)
        self._milepost = AsyncMilepost(site.origin, token=site.service_token())
        self._templates = Templates(HERE / "page", site)

    def application(self) -> Starlette:
        """All routes of the page."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/side-by-side", self.side_by_side),
                *assets(HERE / "page", HERE / "built"),
                Route("/sample/{name}", self.sample),
                Route("/sign-in", self.sign_in, methods=["POST"]),
                Route("/session", self.renew, methods=["POST"]),
                Route("/sign-out", self.sign_out, methods=["POST"]),
                Route("/recordings", self.listed),
                Route("/recordings", self.submit, methods=["POST"]),
                Route("/recordings/{job}", self.result),
                Route("/recordings/{job}/share", self.share, methods=["POST"]),
                Route("/recordings/{job}/cancel", self.cancel, methods=["POST"]),
                Route("/files/{job}/{name}", self.file),
            ],
            exception_handlers={Refused: _refuse, TooLarge: _unfit, BadAudio: _unfit},
        )

    # --- pages ------------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page, which is the same for everybody: who is signed in only its script knows."""
        known = {"coaches": [asdict(coach) for coach in COACHES.values()], "paces": PACES, "samples": list(SAMPLES)}
        seat = request.query_params.get("seat", "")
        return self._templates.page("coaching.html", known=json.dumps(known), seat=seat)

    async def side_by_side(self, _request: Request) -> Response:
        """Two seats in one window, a coach on each."""
        return self._templates.page("side-by-side.html")

    async def sample(self, request: Request) -> Response:
        """A recording to try, as a file."""
        make = SAMPLES.get(request.path_params["name"])
        if make is None:
            raise NO_SUCH
        return Response(await run_in_threadpool(make), media_type="audio/wav")

    # --- accounts ---------------------------------------------------------------------------------------------------

    async def sign_in(self, request: Request) -> Response:
        """A session and a token for the account of ``coach``. This is a demo: naming it is enough."""
        signed_in = self._sessions.sign_in((await _object(request)).get("coach"))
        if signed_in is None:
            raise Refused(422, "There is no such account.")
        return _private(signed_in)

    async def renew(self, request: Request) -> Response:
        """A new token for a ``session`` that is not over."""
        signed_in = self._sessions.renew((await _object(request)).get("session"))
        if signed_in is None:
            raise SIGNED_OUT
        return _private(signed_in)

    async def sign_out(self, request: Request) -> Response:
        """Ends all sessions of the coach whose ``session`` this is."""
        if not self._sessions.sign_out((await _object(request)).get("session")):
            raise SIGNED_OUT
        return Response(status_code=204)

    # --- recordings -------------------------------------------------------------------------------------------------

    async def submit(self, request: Request) -> Response:
        """Takes a recording (the body, or ``?sample=``) and puts it into the queue: 202 with its job's id.

        ``?key=`` names this press of the button: the same again is the same job.
        """
        coach = self._coach(request)
        asked = request.query_params
        sample, key, pace = asked.get("sample", ""), asked.get("key", ""), _pace(asked.get("pace", "0"))
        if not 8 <= len(key) <= 64:
            raise Refused(422, "The form's key must have 8 to 64 characters.")
        if sample and sample not in SAMPLES:
            raise Refused(422, "There is no such sample.")
        job_id = request_id("rec", coach.id, key)
        if await run_in_threadpool(self._queue.find, job_id) is None:
            chunks = _given(await run_in_threadpool(SAMPLES[sample])) if sample else request.stream()
            await self._shelf.receive(job_id, coach.id, chunks)
            work = Work(id=job_id, owner=coach.id, title=_title(asked.get("name", sample)), wish={}, pace=pace)
            # The job first, so that a job in the queue is always known to the hub.
            await self._milepost.start_job(job_id, kind="session", title=work.title, owner=coach.id, notify=True)
            await run_in_threadpool(self._queue.submit, work)
        return JSONResponse({"job_id": job_id}, status_code=202)

    async def listed(self, request: Request) -> Response:
        """The coach's recordings and those shared with them, newest first."""
        coach = self._coach(request)
        return _private({"recordings": await run_in_threadpool(self._listed, coach)})

    async def result(self, request: Request) -> Response:
        """One recording, to whom it is for: what was found, and links to sound and picture that work for a while."""
        coach = self._coach(request)
        work = await self._find(request, coach)
        found = await run_in_threadpool(self._shelf.result, work.id)
        now = time.time()
        links = {name: self._sessions.link(f"/files/{work.id}/{name}", now) for name in FILES}
        told = {"sound": links[SOUND], "picture": links[PICTURE]} if found else {"sound": links[SOUND]}
        return _private({**_summary(work, found), "figures": found, **told})

    async def share(self, request: Request) -> Response:
        """Tells another coach about a recording, with a ``note``; from then on it is for ``coach`` too."""
        coach = self._coach(request)
        work = await self._find(request, coach)
        given = await _object(request)
        other, note = given.get("coach"), given.get("note", "")
        if not isinstance(other, str) or other not in COACHES or other == coach.id:
            raise Refused(422, "Choose one of the other coaches.")
        if not isinstance(note, str) or len(note) > NOTE_LIMIT:
            raise Refused(422, f"The note can have at most {NOTE_LIMIT} characters.")
        answer = other == work.owner
        await run_in_threadpool(self._shelf.share, work.id, other)
        await self._milepost.notify(
            other,
            title=f"{coach.name} {'sent feedback on' if answer else 'shared'} “{work.title}”",
            message=_plain(note),
            level="info",
            href=f"{self._site.prefix}/?recording={work.id}",
            context={"related_session_id": work.id, "from": coach.id},
        )
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        """Cancels the analysis of a recording of the coach's own."""
        coach = self._coach(request)
        work = await self._find(request, coach)
        if work.owner != coach.id:
            raise NO_SUCH
        self._queue.withdraw(work.id)
        await self._milepost.cancel(work.id, reason="Cancelled on the page")
        return Response(status_code=204)

    async def file(self, request: Request) -> Response:
        """Sound or picture, by a link of ``result``."""
        job_id, name = request.path_params["job"], request.path_params["name"]
        asked = request.query_params
        until, key = asked.get("until", ""), asked.get("key", "")
        if not self._sessions.opens(f"/files/{job_id}/{name}", until, key, time.time()):
            raise NO_SUCH
        path = self._shelf.path(job_id, name)
        if name not in FILES or not await run_in_threadpool(path.is_file):
            raise NO_SUCH
        return FileResponse(path, media_type=FILES[name], headers={"cache-control": "private, max-age=600"})

    # --- who, and what ----------------------------------------------------------------------------------------------

    def _coach(self, request: Request) -> Coach:
        coach = self._sessions.coach_of(request)
        if coach is None:
            raise SIGNED_OUT
        return coach

    async def _find(self, request: Request, coach: Coach) -> Work:
        """A recording that is for this coach; of others nobody learns that they exist."""
        work = await run_in_threadpool(self._queue.find, request.path_params["job"])
        if work is None or not self._shelf.is_for(work.id, coach.id):
            raise NO_SUCH
        return work

    def _listed(self, coach: Coach) -> list[dict[str, Any]]:
        found = [self._queue.find(job_id) for job_id in self._shelf.listed(coach.id)]
        return [_summary(work, self._shelf.result(work.id)) for work in found if work]


def _summary(work: Work, found: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": work.id,
        "title": work.title,
        "owner": work.owner,
        "submitted_at": work.submitted_at,
        "seconds": found and found["seconds"],
        "lufs": found and found["lufs"],
    }


async def _object(request: Request) -> dict[str, Any]:
    """A body that is a JSON object. Raises TooLarge, Refused."""
    try:
        given = json.loads(await body(request, BODY_LIMIT))
    except (ValueError, RecursionError):
        raise Refused(422, "This is not JSON.") from None
    if not isinstance(given, dict):
        raise Refused(422, "This must be an object.")
    return given


async def _given(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _pace(text: str) -> float:
    try:
        return PACES[PACES.index(float(text))]
    except ValueError:
        raise Refused(422, "The speed must be one of those offered.") from None


def _title(name: str) -> str:
    return _plain(name)[:TITLE_LIMIT] or "Recording"


def _plain(text: str) -> str:
    """One line without control characters: half surrogates and such are not to be stored."""
    kept = "".join(" " if unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"} else one for one in text)
    return " ".join(kept.split())


def _private(answer: dict[str, Any]) -> Response:
    return JSONResponse(answer, headers={"cache-control": "no-store"})


async def _refuse(_request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refused)
    return refused(refusal.status, str(refusal))


async def _unfit(_request: Request, problem: Exception) -> Response:
    return refused(422, str(problem))
