"""The page: sign-in to an organisation, bills of materials in, runs into the queue, rows and files out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from milepost import AsyncMilepost
from milepost.errors import MilepostError

from ..stage.pages import Templates, TooLarge, assets, body, refused
from ..stage.site import Site
from ..stage.visitors import NOT_SIGNED_IN
from ..stage.workqueue import Request as Work
from ..stage.workqueue import WorkQueue, request_id
from .boms import FILE_LIMIT, BadBom, lines_from_csv
from .members import ORGANIZATIONS, Member, Members
from .shelf import KEPT, Bom, Full, Shelf
from .worker import PRICES

HERE: Final = Path(__file__).parent
SAMPLES: Final = ("sensor-board.csv", "motor-driver.csv", "broken.csv")
PACES: Final = (0.0, 0.2, 1.0)  # seconds for each part: full speed, to watch, slow
NAME_LIMIT: Final = 80

_NOT_THERE: Final = "There is no such bill of materials."


def application(site: Site) -> Starlette:
    """The pages, below the site's prefix."""
    return _Pages(site).application()


class _Pages:
    """The routes. Every answer to a script is JSON; a refusal is ``{"problems": [sentence, …]}``."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._queue = WorkQueue(site.queue)
        self._members = Members(site)
        self._lines = {
            organization: AsyncMilepost(site.origin, token=site.service_token(organization))
            for organization in ORGANIZATIONS
        }
        self._templates = Templates(HERE / "page", site)

    def application(self) -> Starlette:
        """All routes of the page."""
        return Starlette(
            routes=[
                Route("/", self.page),
                *assets(HERE / "page", HERE / "built"),
                Route("/sample/{name}", self.sample),
                Route("/sign-in", self._members.sign_in, methods=["POST"]),
                Route("/session", self._members.session, methods=["POST"]),
                Route("/sign-out", self._members.sign_out, methods=["POST"]),
                Route("/boms", self.upload, methods=["POST"]),
                Route("/boms/{bom}", self.bom),
                Route("/boms/{bom}/rows", self.rows),
                Route("/boms/{bom}/enrich", self.enrich, methods=["POST"]),
                Route("/boms/{bom}/enriched.csv", self.download),
            ]
        )

    async def page(self, request: Request) -> Response:
        """The page with what this person has in this organisation, or the sign-in."""
        member = self._members.known(request)
        if member is None:
            return self._templates.page("sign-in.html", organizations=ORGANIZATIONS)
        shelf = self._shelf(member)
        boms = await run_in_threadpool(shelf.all)
        asked = request.query_params.get("bom", "")
        chosen = next((bom for bom in boms if bom.id == asked), boms[0] if boms else None)
        state = {
            "user": member.id,
            "organization": member.organization,
            "token": self._members.token(member),
            "boms": [bom.summary() for bom in boms],
            "chosen": await run_in_threadpool(_whole, shelf, chosen) if chosen else None,
            "paces": PACES,
        }
        return self._templates.page("index.html", member=member, organizations=ORGANIZATIONS, state=state)

    async def sample(self, request: Request) -> Response:
        """A sample file, to look at or to start from."""
        name = request.path_params["name"]
        if name not in SAMPLES:
            return refused(404, "There is no such sample.")
        return FileResponse(HERE / "sample" / name, media_type="text/csv")

    async def upload(self, request: Request) -> Response:
        """A file (``?name=&key=``, its bytes as the body) as a bill of materials. The same key is the same one."""
        member = self._members.known(request)
        if member is None:
            return refused(401, NOT_SIGNED_IN)
        key = request.query_params.get("key", "")
        if not 8 <= len(key) <= 64:
            return refused(422, "The upload's key must have 8 to 64 characters.")
        try:
            data = await body(request, FILE_LIMIT)
            # In a thread: the hub's streams run in this loop, and must not wait for a file.
            lines = await run_in_threadpool(lines_from_csv, data)
            name = _name(request.query_params.get("name", ""))
            bom = await run_in_threadpool(self._shelf(member).add, request_id("bom", member.id, key), name, lines)
        except (BadBom, TooLarge) as bad:
            return refused(422, *(bad.problems if isinstance(bad, BadBom) else [str(bad)]))
        except Full:
            return refused(422, f"There are {KEPT} bills of materials here already; they leave after a week.")
        return JSONResponse({"bom": await run_in_threadpool(_whole, self._shelf(member), bom)}, status_code=201)

    async def bom(self, request: Request) -> Response:
        """One of them, whole."""
        found = await self._own(request)
        if found is None:
            return refused(404, _NOT_THERE)
        return JSONResponse({"bom": await run_in_threadpool(_whole, self._shelf(found[0]), found[1])})

    async def rows(self, request: Request) -> Response:
        """What a run (``?attempt=``) has found so far, from its row ``?from=`` on."""
        found = await self._own(request)
        if found is None:
            return refused(404, _NOT_THERE)
        member, bom = found
        try:
            attempt, start = (int(request.query_params.get(name, "0")) for name in ("attempt", "from"))
        except ValueError:
            return refused(422, "Attempt and row are whole numbers.")
        rows = await run_in_threadpool(self._shelf(member).rows, bom.id, attempt, max(start, 0))
        return JSONResponse({"rows": rows})

    async def enrich(self, request: Request) -> Response:
        """Begins a run, or the next one: 202 with its attempt. Of one that is under way: that one."""
        found = await self._own(request)
        if found is None:
            return refused(404, _NOT_THERE)
        member, bom = found
        try:
            asked = json.loads(await body(request, 1024))
            pace, prices = asked["pace"], asked["prices"]
        except (TooLarge, ValueError, TypeError, KeyError, RecursionError):
            return refused(422, "This is not what the form sends.")
        if isinstance(pace, bool) or pace not in PACES:
            return refused(422, "The speed must be one of those offered.")
        if not isinstance(prices, str) or prices not in PRICES:
            return refused(422, "The price list must be one of those offered.")
        try:
            attempt = await self._begin(member, bom, float(pace), prices)
        except (MilepostError, OSError):
            return refused(503, "The run cannot begin at the moment; nothing is lost, try again.")
        return JSONResponse({"attempt": attempt}, status_code=202)

    async def _begin(self, member: Member, bom: Bom, pace: float, prices: str) -> int:
        if self._site.redis:
            await run_in_threadpool(_forget_state, self._site.redis, member, bom)
        # The job first: its attempt is the run's. Should we end in between, the job is still queued when the page asks
        # again, and that request is the same one.
        answer = await self._lines[member.organization].start_job(
            bom.id, kind="enrichment", title=bom.name, owner=member.id, total=len(bom.lines)
        )
        attempt: int = answer["job"]["attempt"]
        work = Work(
            id=f"{member.organization}.{bom.id}.{attempt}",
            owner=member.id,
            title=bom.name,
            wish={"prices": prices},
            pace=pace,
            tenant=member.organization,
            job=bom.id,
            attempt=attempt,
        )
        await run_in_threadpool(self._queue.submit, work)
        await run_in_threadpool(self._shelf(member).began, bom.id, attempt)
        return attempt

    async def download(self, request: Request) -> Response:
        """The enriched file, to its owner and to nobody else."""
        found = await self._own(request)
        path = await run_in_threadpool(self._shelf(found[0]).file, found[1].id) if found else None
        if found is None or path is None:
            return refused(404, "There is no such file.")
        name = re.sub(r"[^A-Za-z0-9]+", "-", found[1].name).strip("-") or "parts"
        headers = {"cache-control": "private, no-cache"}
        return FileResponse(path, media_type="text/csv", filename=f"{name}-enriched.csv", headers=headers)

    def _shelf(self, member: Member) -> Shelf:
        return Shelf(self._site.folder, member.organization, member.id)

    async def _own(self, request: Request) -> tuple[Member, Bom] | None:
        """The bill of materials in the address, where it is this person's in the organisation they are in."""
        member = self._members.known(request)
        if member is None:
            return None
        bom = await run_in_threadpool(self._shelf(member).find, request.path_params["bom"])
        return (member, bom) if bom else None


def _whole(shelf: Shelf, bom: Bom) -> dict[str, Any]:
    """A bill of materials with what its newest run has found so far."""
    return {**bom.to_json(), "rows": shelf.rows(bom.id, bom.attempt)}


def _forget_state(url: str, member: Member, bom: Bom) -> None:
    """What the channel's key says of the run before must not end the next one. Raises OSError."""
    from redis.exceptions import RedisError

    from .publisher import Publisher

    try:
        with Publisher(
            url,
            bom_id=bom.id,
            bom_name=bom.name,
            organization_id=member.organization,
            user_id=member.id,
            total=len(bom.lines),
        ) as publisher:
            publisher.forget()
    except RedisError as error:
        raise OSError("the Redis is away") from error


def _name(given: str) -> str:
    """A file's name as a name for people."""
    plain = "".join(character if character.isprintable() else " " for character in given)
    base = re.sub(r"\.(csv|txt|tsv)$", "", plain, flags=re.IGNORECASE).replace("_", " ").strip()
    return base[:NAME_LIMIT].encode("utf-8", "replace").decode() or "Bill of materials"
