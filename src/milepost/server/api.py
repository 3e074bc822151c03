"""The JSON API: routes in the words of the contract, each a few lines between a request and a verb."""

from __future__ import annotations

import math
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from milepost import inbox, wire
from milepost.commands import Advance, Batch, Cancel, Command, Complete, Fail, Notify, StartJob, parse
from milepost.dialects import MILEPOST
from milepost.engine import Document, Page
from milepost.errors import Forbidden, Invalid
from milepost.idempotency import Once
from milepost.jobs import load as load_job
from milepost.model import Cursor, Identity, Job, dumps, to_rfc3339
from milepost.server.access import identify
from milepost.server.handoff import EXTENSION, HandoffProtocol
from milepost.server.problems import ANSWERED
from milepost.server.reports import MAX_BYTES, described
from milepost.server.services import Services, services_of
from milepost.server.streams import Asked, dialect_of, job_list

MAX_CHANGES: Final = 256
MAX_WAIT: Final = 30.0
_MOST: Final = 1e9  # beyond this a number is no count and no time
_HEADERS: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))

router = APIRouter(prefix="/api")


# --- jobs -----------------------------------------------------------------------------------------------------------


@router.post("/jobs", status_code=201, openapi_extra={"requestBody": {"$ref": "StartJob"}})
async def start_job(request: Request) -> Response:
    """Begin a job, or a new attempt of one that has ended. 200 with the job as it is where it is alive."""
    services, identity, body = await _asked(request)
    once = _once(request, body)
    job, created = await services.ledger.start_job(identity, parse(StartJob, body), once)
    return _job(request, job, 201 if created else 200)


@router.get("/jobs")
async def list_jobs(request: Request) -> Response:
    """The jobs that you may see, newest first: ``?state=&kind=&limit=&cursor=``."""
    services, identity, _ = await _asked(request)
    query = request.query_params
    found, after = await services.queries.jobs(
        identity,
        state=query.get("state"),
        kind=query.get("kind"),
        limit=_limit(request, 50),
        cursor=query.get("cursor"),
    )
    return _json({"jobs": [{**job.to_json(), "rev": job.rev} for job in found], "next": after})


@router.get("/jobs/{job_id}")
async def get_job(request: Request, job_id: str) -> Response:
    """The job now, with its steps."""
    services, identity, _ = await _asked(request)
    return _job(request, await services.queries.job(identity, job_id))


@router.patch("/jobs/{job_id}", openapi_extra={"requestBody": {"$ref": "Advance"}})
async def advance(request: Request, job_id: str) -> Response:
    """Report progress; an empty object is a sign of life. Never waits for other progress of the job."""
    services, identity, body = await _asked(request)
    return _job(request, await services.ledger.advance(identity, job_id, parse(Advance, body)))


@router.post("/jobs/{job_id}/complete", openapi_extra={"requestBody": {"$ref": "Complete"}})
async def complete(request: Request, job_id: str) -> Response:
    """The job is done. The same again is no error; another end is 409 ``job_ended``."""
    return await _end(request, job_id, Complete)


@router.post("/jobs/{job_id}/fail", openapi_extra={"requestBody": {"$ref": "Fail"}})
async def fail(request: Request, job_id: str) -> Response:
    """The job has failed, with a code of the taxonomy or your own."""
    return await _end(request, job_id, Fail)


@router.post("/jobs/{job_id}/cancel", openapi_extra={"requestBody": {"$ref": "Cancel"}})
async def cancel(request: Request, job_id: str) -> Response:
    """The job is no longer wanted; its worker is told when it next reports."""
    return await _end(request, job_id, Cancel)


# --- notifications --------------------------------------------------------------------------------------------------


@router.post("/notifications", status_code=201, openapi_extra={"requestBody": {"$ref": "Notify"}})
async def notify(request: Request) -> Response:
    """Tell one user, several, or everyone in the tenant."""
    services, identity, body = await _asked(request)
    command = parse(Notify, body)
    notes = b",".join(map(wire.public, await services.ledger.notify(identity, command, _once(request, body))))
    return _bytes((b'{"notifications":[%b]}' if command.users else b'{"notification":%b}') % notes, 201)


@router.get("/notifications")
async def list_notifications(request: Request) -> Response:
    """Your notifications, newest first. With ``?after_id=``: the oldest ``limit`` of those created later.

    In the words of ``?dialect=``, or of the tenant's.
    """
    services, identity, _ = await _asked(request)
    query = request.query_params
    dialect = dialect_of(Asked.of(request), services, identity) or MILEPOST
    listing = await services.queries.notifications(
        identity,
        after=query.get("after_id") or None,
        before=query.get("before") or None,
        status=query.get("status"),
        limit=_limit(request, 50),
    )
    answer = {
        "notifications": [note.full_json() for note in listing.notifications],
        "cursor": listing.cursor,
        "more": listing.more,
        "unread": listing.unread.count,
        "as_of": listing.unread.as_of,
    }
    return _json(dialect.listing(answer))


@router.get("/notifications/unread-count")
async def unread_count(request: Request) -> Response:
    """How many of your notifications are unread."""
    services, identity, _ = await _asked(request)
    unread = await services.queries.unread(identity)
    return _json({"unread_count": unread.count, "as_of": unread.as_of})


@router.post("/notifications/read-all")
async def read_all(request: Request) -> Response:
    """Mark all read, or all up to the notification ``up_to``."""
    services, identity, body = await _asked(request)
    asked = parse(ReadAll, body)
    await services.ledger.mark_all_read(identity, asked.up_to)
    return await _unread(services, identity)


@router.post("/notifications/{notification_id}/read")
async def read(request: Request, notification_id: str) -> Response:
    """Mark one read; twice is no error."""
    services, identity, _ = await _asked(request)
    await services.ledger.mark_read(identity, notification_id)
    return await _unread(services, identity)


@router.post("/notifications/{notification_id}/archive")
async def archive(request: Request, notification_id: str) -> Response:
    """Archive one, which also reads it; twice is no error."""
    services, identity, _ = await _asked(request)
    await services.ledger.archive(identity, notification_id)
    return await _unread(services, identity)


# --- changes --------------------------------------------------------------------------------------------------------


@router.get("/changes")
async def changes(request: Request) -> Response:
    """What ``/api/stream`` would send after the cursor ``?after=``, as JSON; ``?wait=`` seconds make it a long poll."""
    services, identity, _ = await _asked(request)
    query = request.query_params
    wait = min(_number(request, "wait", 0.0), MAX_WAIT)
    limit = _limit(request, MAX_CHANGES, MAX_CHANGES)
    keys = [f"job:{job}" for job in job_list(query.get("jobs"))]
    sent = query.get("after") or None
    after = None if sent is None else services.seal.decode(identity.tenant, sent)
    audiences = None if keys and identity.may("admin") else identity.audiences

    async def look() -> Page:
        return await services.engine.changes(
            identity.tenant,
            audiences,
            after,
            now=services.ledger.now(),
            limit=limit,
            keys=keys or None,
        )

    topics = [f"#{key}" for key in keys] or identity.audiences
    page = await (services.hub.wait(identity.tenant, topics, look, wait) if wait and after else look())
    reset = page.reset or ("malformed" if sent is not None and after is None else None)
    unread = await services.queries.unread(identity)
    fresh = after is None or page.reset is not None
    entries = []
    mark: int | None = 0 if fresh and not keys else None
    for document in sorted(page.documents, key=lambda one: one.revision):
        if audiences is None and "!" in document.key:
            continue
        if document.kind == "inbox":
            mark = inbox.load_inbox(identity.user, document).read_up_to
        else:
            cursor = services.seal.encode(identity.tenant, Cursor(page.cursor.epoch, document.revision))
            entries.append(_entry(cursor, document.kind.encode(), wire.public(document)))
    here = services.seal.encode(identity.tenant, page.cursor)
    if mark is not None:
        box = {"unread": unread.count, "read_up_to": mark, "as_of": unread.as_of}
        entries.append(_entry(here, b"inbox", orjson.dumps(box)))
    rest = {"cursor": here, "more": page.more, "reset": reset, "unread": unread.count, "as_of": unread.as_of}
    return _bytes(b'{"changes":[%b],%b' % (b",".join(entries), orjson.dumps(rest)[1:]))


@router.post("/batch", openapi_extra={"requestBody": {"$ref": "Batch"}})
async def batch(request: Request) -> Response:
    """Up to 1,000 commands, carried out in order, in one commit; one bad command refuses all and is named."""
    services, identity, body = await _asked(request)
    outcomes = await services.ledger.batch(identity, parse(Batch, body), _once(request, body))
    return _json({"results": [_outcome(documents) for documents in outcomes]})


@router.post("/tickets", status_code=201)
async def ticket(request: Request) -> Response:
    """A one-time ticket for ``?ticket=`` on a stream, for clients that can send neither header nor cookie."""
    services, identity, body = await _asked(request)
    text, seconds = await services.tickets.issue(identity, parse(TicketFor, body).jobs)
    return _json({"ticket": text, "expires_in": seconds}, 201)


@router.get("/client-config")
async def client_config(request: Request) -> Response:
    """How this user's browser shall connect."""
    services, identity, _ = await _asked(request)
    settings = services.settings
    may_stream = settings.streams_allowed(identity.tenant, identity.user)
    return _json(
        {
            "transports": ["sse", "long-poll", "poll"] if may_stream else ["long-poll", "poll"],
            "heartbeat_seconds": settings.heartbeat_seconds,
            "poll_seconds": settings.poll_seconds,
            "long_poll_seconds": settings.long_poll_seconds,
        }
    )


@router.post("/client-reports", openapi_extra=described())
async def client_report(request: Request) -> Response:
    """What a browser has counted of its own connection, in sums, for the metrics. The answer is the hub's time."""
    services, identity, body = await _asked(request, MAX_BYTES)
    services.reports.take(identity, body)
    return _json({"time": to_rfc3339(services.ledger.now())})


@router.get("/pipeline-status/{case_id}")
async def pipeline_status(request: Request, case_id: str) -> Response:
    """Product D's own question about one job, kept for its pages."""
    services, identity, _ = await _asked(request)
    job = await services.queries.job(identity, case_id)
    own = services.settings.of_tenant(identity.tenant).dialect
    # its page understands D's words only, whatever this job's stream would say by itself
    in_words = "" if (own or job.kind) == "document" else "?dialect=document"
    return _json(
        {
            "caseId": case_id,
            "jobId": job.id,
            "status": job.state,
            "current": job.current,
            "total": job.total,
            "message": job.message,
            "outputUrl": job.output_url,
            "error": None if job.error is None else job.error.to_json(),
            "streamUrl": _stream_url(request, job.id) + in_words,
        }
    )


# --- how it is done -------------------------------------------------------------------------------------------------


class ReadAll(Command):
    """``POST /notifications/read-all``."""

    up_to: str | None = None


class TicketFor(Command):
    """``POST /tickets``: the jobs that streams with this ticket are narrowed to."""

    jobs: tuple[str, ...] = Field((), strict=False)


async def _asked(request: Request, most: float = math.inf) -> tuple[Services, Identity, bytes]:
    """Who asks and what, in ``most`` bytes: the credential is looked at before the body is read."""
    services = services_of(request)
    identity = (await identify(request, services)).identity
    if not identity.scopes & {"consume", "produce", "produce:any", "admin"}:
        raise Forbidden
    limit = int(min(services.settings.body_limit, most))
    body = b"" if request.method == "GET" else await _body(request, limit)
    return services, identity, body or b"{}"


async def _body(request: Request, limit: int) -> bytes:
    """The body, counted as it comes: its stated length is only a claim."""
    headers = _headers(request)
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Invalid("The body must not be compressed.", field="Content-Encoding")
    stated = headers.get(b"content-length", b"0")
    if stated.isdigit() and int(stated) > limit:
        raise Invalid(f"The body is over {limit} bytes.", code="too_large")
    body, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        body = body + part if body else part  # nearly always it is one part
        if len(body) > limit:
            raise Invalid(f"The body is over {limit} bytes.", code="too_large")
    return body


def _once(request: Request, body: bytes) -> Once | None:
    key = _headers(request).get(b"idempotency-key")
    return None if key is None else Once.of(key.decode("latin-1"), f"{request.method} {request.url.path}", body)


def _headers(request: Request) -> dict[bytes, bytes]:
    """By name; of several of one name the first. Each look at ``request.headers`` would go through all of them."""
    return dict(reversed(request.scope["headers"]))


async def _end(request: Request, job_id: str, kind: type[Complete | Fail | Cancel]) -> Response:
    services, identity, body = await _asked(request)
    return _job(request, await services.ledger.end(identity, job_id, parse(kind, body), _once(request, body)))


async def _unread(services: Services, identity: Identity) -> Response:
    unread = await services.queries.unread(identity)
    return _json({"unread": unread.count, "as_of": unread.as_of})


def _number(request: Request, name: str, default: float, least: float = 0.0) -> float:
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= _MOST:
        raise Invalid(f"{name} must be a number.", field=name)
    return number


def _limit(request: Request, default: int, most: int = 100) -> int:
    return int(max(1, min(_number(request, "limit", default, -_MOST), most)))


def _stream_url(request: Request, job_id: str) -> str:
    return f"{request.scope.get('root_path', '')}/api/jobs/{job_id}/stream"


def _job(request: Request, job: Job, status: int = 200) -> Response:
    return _bytes(
        dumps({"job": job.full_json(), "stream_url": _stream_url(request, job.id)}),
        status,
    )


def _entry(cursor: str, name: bytes, document: bytes) -> bytes:
    return b'{"cursor":"%b","%b":%b}' % (cursor.encode(), name, document)


def _outcome(documents: list[Document]) -> dict[str, Any]:
    if documents and documents[0].kind == "job":
        job = load_job(documents[0])
        return {"job": {"id": job.id, "state": job.state, "attempt": job.attempt, "rev": job.rev}}
    return {"notifications": [{"id": wire.subject(d.key).partition(":")[2], "seq": d.order} for d in documents]}


def _json(value: object, status: int = 200) -> Response:
    return _bytes(dumps(value), status)


def _bytes(body: bytes, status: int = 200) -> Response:
    return Json(body, status)


class Json(Response):
    """JSON that is bytes already, under headers that are the same for every answer but for its length."""

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *_HEADERS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, in one write where the server can."""
        connection: HandoffProtocol | None = scope.get("extensions", {}).get(EXTENSION)
        if connection is not None and connection.answer(scope, self.status_code, self.raw_headers, bytes(self.body)):
            scope[ANSWERED] = self.status_code
        else:
            await super().__call__(scope, receive, send)
