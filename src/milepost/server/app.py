"""The application: routes, errors, static files, OpenAPI, and the services that start with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from milepost import commands, dialects
from milepost.engine import Engine
from milepost.errors import Forbidden, MilepostError, NotFound
from milepost.server import logs, problems
from milepost.server.access import identify
from milepost.server.api import router
from milepost.server.front import Front
from milepost.server.legacy import STREAMS
from milepost.server.services import Authenticate, Services, services_of
from milepost.server.streams import NATIVE, StreamEndpoint, come_again
from milepost.settings import Settings

STATIC: Final = Path(__file__).parent / "static"
BUNDLE: Final = {
    "milepost.js": "text/javascript",
    "milepost.mjs": "text/javascript",
    "milepost.css": "text/css",
    "milepost.d.ts": "text/plain",
    "milepost.d.mts": "text/plain",
}
_REF: Final = "#/components/schemas/"
# Path → what it takes beside that which every stream does.
_STREAMS: Final = {
    "/api/stream": ["jobs"],
    "/api/jobs/{job_id}/stream": ["job_id"],
    "/api/notifications/stream": [],
    "/api/enrichment/stream/{bom_id}": ["bom_id"],
    "/api/pipelines/stream": ["job_id"],
}


class Application:
    """An ASGI application that starts its services with its lifespan, or with its first request where it is mounted
    inside another application, which gives it no lifespan.
    """

    def __init__(self, inner: ASGIApp, services: Services, answered: problems.Answered) -> None:
        self.inner = inner
        self.services = services
        self.answered = answered  # told of every request that does not come through here; see ``problems.Guard``

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One conversation."""
        if scope["type"] == "http" and not self.services.started:
            try:
                await self.services.start()
            except MilepostError as error:  # out here nobody else would make an answer of it
                native = (b"accept", NATIVE.encode()) in scope["headers"]
                again = come_again(error, dialects.Dialect(), dialects.Reader("")) if native else None
                await (again or problems.response(error))(scope, receive, send)
                return
        await self.inner(scope, receive, send)


def create_app(
    settings: Settings | None = None, *, engine: Engine | None = None, authenticate: Authenticate | None = None
) -> Application:
    """Milepost as an ASGI application, to be served by itself or mounted in another.

    ``settings``: by default from the environment and ``milepost.toml``. ``engine``: one that is already open; it is
    not closed with the application. ``authenticate``: the application's own sign-in, tried before tokens; it is given
    the request and answers an ``Identity`` or None.
    """
    dialects.install()
    services = Services(settings or Settings.load(), engine, authenticate)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.start()
        yield
        await services.stop()

    inner = FastAPI(
        title="Milepost",
        summary="Live job progress and notifications",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    inner.state.services = services
    stream = Route("/api/stream", StreamEndpoint(), methods=["GET"])
    inner.router.routes += [
        stream,
        Route("/api/jobs/{job_id}/stream", StreamEndpoint(), methods=["GET"]),
        *STREAMS,
        *map(_plain, _api_routes()),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
        Route("/metrics", _metrics),
        *(Route(f"/{name}", _bundle, name=name) for name in BUNDLE),
        Mount("/types", StaticFiles(directory=STATIC / "types", check_dir=False)),  # what milepost.d.ts refers to
    ]
    inner.include_router(router)

    def answered(scope: Scope, status: int, seconds: float) -> None:
        services.metrics.answered(logs.route(scope), status)
        # what went well is counted; a line for each would cost more than the request
        if status == 0 or status >= 400:
            logs.access(scope, status, seconds)

    problems.install(inner, answered)
    inner.openapi = lambda: _openapi(inner)  # type: ignore[method-assign]
    outer: ASGIApp = Front(inner, [stream, *_api_routes()], answered)
    if services.settings.allowed_origins:
        outer = CORSMiddleware(
            outer,
            allow_origins=services.settings.allowed_origins,
            allow_credentials=True,
            allow_methods=["GET", "POST", "PATCH"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=["Retry-After"],
            max_age=600,
        )
    return Application(outer, services, answered)


def _api_routes() -> list[APIRoute]:
    return [route for route in router.routes if isinstance(route, APIRoute)]


def _plain(route: APIRoute) -> Route:
    """The same route, answered without FastAPI, which then only describes it.

    Its routes ask for nothing but the request, and FastAPI's way to them costs more than what most of them do.
    """

    async def endpoint(request: Request) -> Response:
        answer: Response = await route.endpoint(request, **request.path_params)
        return answer

    return Route(route.path, endpoint, methods=sorted(route.methods or ()))


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _readyz(request: Request) -> Response:
    services = services_of(request)
    try:
        await services.engine.ping()
    except MilepostError:
        return JSONResponse({"status": "engine_away"}, 503)
    return JSONResponse({"status": "draining"}, 503) if services.draining else JSONResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    services = services_of(request)
    if not (await identify(request, services)).identity.may("admin"):
        raise Forbidden
    return Response(await services.numbers(), media_type=services.metrics.content_type)


async def _bundle(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    if not (STATIC / name).is_file():
        raise NotFound("The browser client was not built into this installation.")
    return FileResponse(STATIC / name, media_type=BUNDLE[name], headers={"cache-control": "no-cache"})


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The document of the JSON API, with the bodies that are checked by ``commands`` and the streams, which FastAPI
    does not know.
    """
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title=app.title, version=version("milepost"), summary=app.summary, routes=app.routes)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for path in schema["paths"].values():
        for operation in path.values():
            body = operation.get("requestBody", {})
            if "$ref" not in body:
                continue
            name = body["$ref"]
            described = getattr(commands, name).model_json_schema(ref_template=_REF + "{model}")
            schemas.update(described.pop("$defs", {}))
            schemas[name] = described
            operation["requestBody"] = {"content": {"application/json": {"schema": {"$ref": _REF + name}}}}
    for path, own in _STREAMS.items():
        parameters: list[dict[str, Any]] = [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("after", "dialect", "ticket")
        ]
        for name in own:
            where = "path" if f"{{{name}}}" in path else "query"
            needed = where == "path" or name == "job_id"
            parameters.append({"name": name, "in": where, "required": needed, "schema": {"type": "string"}})
        schema["paths"][path] = {
            "get": {
                "summary": "Server-sent events: what is, then every change",
                "parameters": parameters,
                "responses": {"200": {"description": "A stream", "content": {"text/event-stream": {}}}},
            }
        }
    app.openapi_schema = schema
    return schema
